import { icon } from "./panel";
import { type Problem, words } from "./problem";
import type { Key } from "./recording";

function element<K extends keyof HTMLElementTagNameMap>(name: K, text = "", className = ""): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function badge(name: string): HTMLElement {
  const made = element("div", "", "badge");
  made.append(icon(name));
  return made;
}

function reveal(card: HTMLElement, kind: "ask" | "bad", ...content: Node[]): void {
  card.dataset["kind"] = kind;
  card.setAttribute("role", kind === "bad" ? "alertdialog" : "dialog");
  card.setAttribute("aria-label", card.querySelector("h2")?.textContent ?? "");
  card.replaceChildren(...content);
  card.setAttribute("aria-label", card.querySelector("h2")?.textContent ?? "");
  card.hidden = false;
}

/** Says what went wrong, and what can be done. */
export function tell(card: HTMLElement, problem: Problem, buttons: [string, () => void][]): void {
  const { title, advice } = words(problem);
  const row = element("div", "", "buttons");
  for (const [i, [label, action]] of buttons.entries()) {
    const button = element("button", label, i === 0 ? "primary" : "secondary");
    button.type = "button";
    button.addEventListener("click", action);
    row.append(button);
  }
  reveal(card, "bad", badge("i-alert"), element("h2", title), element("p", advice), element("p", problem.message, "detail"), ...(buttons.length ? [row] : []));
  row.querySelector("button")?.focus();
}

/** Asks for a key file and its passphrase. `attempt` says what is wrong with them, or nothing. */
export function ask(card: HTMLElement, reason: string, attempt: (key: Key) => Promise<string | null>): void {
  const form = element("form");
  const file = element("input");
  file.type = "file";
  file.required = true;
  file.id = "key-file";
  const passphrase = element("input");
  passphrase.type = "password";
  passphrase.autocomplete = "off";
  passphrase.id = "passphrase";
  const [fileLabel, passphraseLabel] = [element("label", "Key file"), element("label", "Passphrase")];
  fileLabel.append(file);
  passphraseLabel.append(passphrase);
  const fault = element("p", "", "fault");
  fault.setAttribute("role", "alert");
  const submit = element("button", "Open", "primary");
  form.append(fileLabel, passphraseLabel, fault, submit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void (async () => {
      fault.textContent = "";
      submit.disabled = true;
      submit.textContent = "Opening…";
      // Deriving the key takes a second and blocks: let the button change first.
      await new Promise((resolve) => setTimeout(resolve, 40));
      const text = (await file.files?.[0]?.text()) ?? "";
      fault.textContent = (await attempt({ file: text, passphrase: passphrase.value })) ?? "";
      submit.disabled = false;
      submit.textContent = "Open";
      if (fault.textContent) passphrase.select();
    })();
  });
  reveal(
    card,
    "ask",
    badge("i-lock"),
    element("h2", "This recording is sealed"),
    element("p", reason),
    form,
  );
}
