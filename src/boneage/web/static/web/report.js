// Shows the print button, which works only with a script.
const button = document.querySelector("[data-print]");
button.hidden = false;
button.addEventListener("click", () => print());
