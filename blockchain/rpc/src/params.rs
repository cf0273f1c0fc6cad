//! Reading a call's parameters.

use alloy_eips::BlockId;
use alloy_primitives::U64;
use jsonrpsee::types::Params;
use jsonrpsee::types::params::ParamsSequence;
use serde::{Deserialize, Deserializer};

use crate::error::{CallError, CallResult};

/// The parameters that are left.
pub(crate) struct Arguments<'a>(ParamsSequence<'a>);

impl<'a> Arguments<'a> {
    pub(crate) fn new(params: &'a Params<'_>) -> Self {
        Self(params.sequence())
    }

    /// The next parameter, which has to be there.
    pub(crate) fn next<T: Deserialize<'a>>(&mut self, name: &str) -> CallResult<T> {
        self.optional(name)?.ok_or_else(|| {
            CallError::Params(format!("missing value for required argument '{name}'"))
        })
    }

    /// The next parameter, if there is one and it is not null.
    pub(crate) fn optional<T: Deserialize<'a>>(&mut self, name: &str) -> CallResult<Option<T>> {
        self.0.optional_next().map_err(|error| {
            let reason = error
                .data()
                .map_or(error.message(), |data| data.get())
                .trim_matches('"')
                .to_owned();
            CallError::Params(format!("invalid argument '{name}': {reason}"))
        })
    }

    /// The next parameter as a block, the newest if it is not there.
    pub(crate) fn block(&mut self) -> CallResult<BlockId> {
        Ok(self.optional("block")?.unwrap_or_default())
    }
}

/// A number as JSON or as hex with 0x: people type the one, programs send the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Hex(U64),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Number(number) => Self(number),
            Either::Hex(hex) => Self(hex.to()),
        })
    }
}
