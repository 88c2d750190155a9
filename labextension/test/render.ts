/** Renders a React element into the document, as the widgets do. */
import { act } from 'react';
import type { Root } from 'react-dom/client';
import { createRoot } from 'react-dom/client';
import type { ReactElement } from 'react';

(globalThis as Record<string, unknown>).IS_REACT_ACT_ENVIRONMENT = true;

export class Rendered {
  readonly node = document.body.appendChild(document.createElement('div'));

  constructor(element: ReactElement) {
    this._root = createRoot(this.node);
    this.again(element);
  }

  again(element: ReactElement): void {
    act(() => this._root.render(element));
  }

  /** What the reader of the screen sees. */
  get text(): string {
    return this.node.textContent ?? '';
  }

  one(selector: string): HTMLElement {
    const found = this.node.querySelector<HTMLElement>(selector);
    if (!found) {
      throw new Error(`nothing matches ${selector} in ${this.node.innerHTML}`);
    }
    return found;
  }

  all(selector: string): HTMLElement[] {
    return [...this.node.querySelectorAll<HTMLElement>(selector)];
  }

  /** The button with this name. */
  button(name: string): HTMLButtonElement {
    const found = this.all('button').find(
      button => (button.getAttribute('aria-label') ?? button.textContent ?? '').trim() === name
    );
    if (!found) {
      throw new Error(`no button ${name}`);
    }
    return found as HTMLButtonElement;
  }

  click(element: HTMLElement): void {
    act(() => element.click());
  }

  /** Chooses in a list. */
  choose(select: HTMLSelectElement, value: string): void {
    act(() => {
      select.value = value;
      select.dispatchEvent(new Event('change', { bubbles: true }));
    });
  }

  key(element: HTMLElement, key: string): void {
    act(() => void element.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true })));
  }

  close(): void {
    act(() => this._root.unmount());
    this.node.remove();
  }

  private _root: Root;
}
