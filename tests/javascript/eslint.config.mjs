// Rules for the programs of the figures and of the book's pages, and of this file.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-param-reassign": "error",
      "no-shadow": "error",
      "no-undef-init": "error",
      "no-useless-rename": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "one-var": ["error", { initialized: "never" }],
      "prefer-arrow-callback": "error",
      "prefer-const": "error",
    },
  },
  {
    files: ["book/assets/*.js"],
    languageOptions: { sourceType: "script", globals: { MathJax: "readonly" } },
  },
];
