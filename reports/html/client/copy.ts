/// <reference lib="dom" />

/** Makes every button with `data-copy` copy the text of the element that it names. */
export function makeCopyButtons(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", () => {
      const source = document.getElementById(button.dataset["copy"] ?? "");
      if (source === null) return;
      void copy(source).then((done) => {
        button.textContent = done ? "Copied" : "Press Ctrl+C";
        setTimeout(() => {
          button.textContent = label;
        }, 2_000);
      });
    });
  }
}

async function copy(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(source.textContent ?? "");
    return true;
  } catch {
    // A page opened from disk may have no clipboard: then the text is marked, ready for the reader's own keys.
    getSelection()?.selectAllChildren(source);
    return false;
  }
}
