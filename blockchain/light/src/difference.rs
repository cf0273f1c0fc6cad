//! Sets of validators one after another, each told as what it changes in the one before: a set of thirteen has 1.1 KB, and most
//! changes concern one of them.

use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{Validator, ValidatorSet};

/// What makes one set of another. A validator whose keys change leaves and joins.
#[derive(Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Difference {
    /// Places in the set before, ascending.
    leave: Vec<u16>,
    /// By node id, ascending.
    join: Vec<Validator>,
}

impl Difference {
    /// From `before`, or from nothing, to `after`.
    pub(crate) fn between(before: Option<&ValidatorSet>, after: &ValidatorSet) -> Self {
        let before = before.map_or(&[][..], ValidatorSet::list);
        let lacks = |list: &[Validator], it: &Validator| {
            let place = list.binary_search_by_key(&it.node, |other| other.node);
            place.map_or(true, |place| list[place] != *it)
        };
        let places = (0..).zip(before);
        Self {
            leave: places
                .filter(|(_, it)| lacks(after.list(), it))
                .map(|(place, _)| place)
                .collect(),
            join: after
                .list()
                .iter()
                .filter(|it| lacks(before, it))
                .cloned()
                .collect(),
        }
    }

    /// The set after; a sentence if this is not the one way to tell the difference.
    pub(crate) fn apply(&self, before: Option<&ValidatorSet>) -> Result<ValidatorSet, String> {
        let list = before.map_or(&[][..], ValidatorSet::list);
        let stay = (0..)
            .zip(list)
            .filter(|(place, _)| !self.leave.contains(place));
        let after = stay.map(|(_, it)| it).chain(&self.join).cloned();
        let after = ValidatorSet::new(after.collect()).map_err(|error| error.to_string())?;
        if Self::between(before, &after) != *self {
            return Err("a change of validators is not told in the shortest way".into());
        }
        Ok(after)
    }
}
