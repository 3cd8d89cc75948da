// Adds a button to each password field that shows the typed text. Without script there is no such button.
for (const box of document.querySelectorAll("[data-show]")) {
  const input = box.querySelector("input");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = box.dataset.show;
  button.setAttribute("aria-label", box.dataset.showWhat);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const isShown = input.type === "password";
    input.type = isShown ? "text" : "password";
    button.setAttribute("aria-pressed", String(isShown));
  });
  input.form.addEventListener("submit", () => { input.type = "password"; });
  box.append(button);
}
