// Settings of the viewer at /docs, and fixes for screen readers and keyboard users.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const viewer = document.getElementById("viewer");
const named = () => {
  for (const field of viewer.querySelectorAll("select:not([aria-label])")) {
    field.setAttribute("aria-label", field.closest("[data-param-name]")?.dataset.paramName ?? field.title);
  }
  for (const table of viewer.querySelectorAll("[role=region]:not([aria-label])")) {
    table.setAttribute("aria-label", table.id);
  }
  for (const code of viewer.querySelectorAll("pre:not([tabindex])")) {
    code.tabIndex = 0;
  }
};
new MutationObserver(named).observe(viewer, { childList: true, subtree: true });

SwaggerUIBundle({
  domNode: viewer,
  url: new URL("openapi.json", location.href).href,
  // Disabled: it sends the URL of the document to validator.swagger.io.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  // Disabled: its colours have too little contrast.
  syntaxHighlight: false,
  plugins: [{
    wrapComponents: {
      InfoContainer: (Info, { React }) => (props) => React.createElement("div", { role: "region", "aria-label": "About" }, React.createElement(Info, props)),
    },
  }],
});
