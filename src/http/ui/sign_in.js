// Sign-in with the token that the operator types in, for every page.

import { forgetToken, hasToken, session, useToken } from "./api.js";
import { byId, problemBox } from "./dom.js";

function ask(problem) {
  const dialog = byId("sign-in");
  byId("sign-in-trouble").replaceChildren(...(problem ? [problemBox(problem)] : []));
  byId("confirm").close();
  if (!dialog.open) dialog.showModal();
  byId("token").focus();
}

/** Asks for the token if there is none or the API does not accept it. Calls `begin` once there is one; after a new one `again` first. */
export function signIn({ begin, again = () => {} }) {
  byId("sign-in").addEventListener("cancel", (event) => event.preventDefault());
  byId("sign-in").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    useToken(byId("token").value.trim());
    byId("token").value = "";
    byId("sign-in").close();
    again();
    begin();
  });
  session.addEventListener("unauthorized", ({ detail: problem }) => {
    forgetToken();
    ask(problem);
  });
  byId("sign-out").addEventListener("click", () => {
    forgetToken();
    // Nothing that the token made visible may stay.
    location.replace(location.pathname + location.search);
  });
  if (hasToken()) begin();
  else ask();
}
