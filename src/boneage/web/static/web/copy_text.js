// Copies the report text. Where the browser does not allow it (no https), the text is selected for the user to copy.

export function startCopying(root) {
  const button = root.querySelector("[data-copy-button]"), text = root.querySelector("[data-copy-text]");
  const status = root.querySelector("[data-copy-status]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    status.textContent = "";
    try {
      await navigator.clipboard.writeText(text.textContent);
      status.textContent = status.dataset.copied;
    } catch {
      text.closest("details").open = true;
      getSelection().selectAllChildren(text);
      status.textContent = status.dataset.failed;
    }
  });
}
