// The button that prints, which would do nothing without a script.
const button = document.querySelector("[data-print]");
button.hidden = false;
button.addEventListener("click", () => print());
