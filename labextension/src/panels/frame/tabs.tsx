/** The tabs of the panel. The Tab key stops at one of them; arrow keys move between them. */
import * as React from 'react';

export interface ITab {
  readonly id: string;
  readonly label: string;
}

export interface ITabsProps {
  tabs: readonly ITab[];
  current: string;
  label: string;
  onSelect: (id: string) => void;
}

/** The ids that connect a tab with its panel. */
export function tabId(view: string): string {
  return `parslab-tab-${view}`;
}

export function panelId(view: string): string {
  return `parslab-view-${view}`;
}

export function Tabs({ tabs, current, label, onSelect }: ITabsProps): React.JSX.Element {
  const move = (event: React.KeyboardEvent) => {
    const at = tabs.findIndex(tab => tab.id === current);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) {
      return;
    }
    event.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length].id;
    onSelect(next);
    const list = event.currentTarget.parentElement;
    list?.querySelector<HTMLElement>(`#${tabId(next)}`)?.focus();
  };
  return (
    <div className="parslab-Tabs" role="tablist" aria-label={label}>
      {tabs.map(tab => (
        <button
          key={tab.id}
          id={tabId(tab.id)}
          role="tab"
          type="button"
          aria-selected={tab.id === current}
          aria-controls={panelId(tab.id)}
          tabIndex={tab.id === current ? 0 : -1}
          onClick={() => onSelect(tab.id)}
          onKeyDown={move}
        >
          {tab.label}
        </button>
      ))}
    </div>
  );
}
