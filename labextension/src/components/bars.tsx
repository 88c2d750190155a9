/** Small graphics made of boxes: how the tasks of a run or of an app spread over the states, and how a number went. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count } from './format';
import { colourOf, labelOf, STATES } from './states';

/** Ended ones first, so that a bar grows from the left like any progress bar. */
const ORDER = [
  'exec_done',
  'failed',
  'dep_fail',
  'cancelled',
  'running',
  'joining',
  'launched',
  'ready',
  'pending'
];

/** Counts by state in words: `12 done, 3 running`. */
export function countsInWords(counts: Record<string, number>, trans: TranslationBundle): string {
  const words = STATES.filter(state => counts[state]).map(
    state => `${count(counts[state])} ${labelOf(state, trans).toLowerCase()}`
  );
  return words.join(', ') || trans.__('no tasks');
}

export function StateBar(props: {
  counts: Record<string, number>;
  label: string;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { counts, label, trans } = props;
  const words = countsInWords(counts, trans);
  return (
    <div className="parslab-StateBar" role="img" aria-label={`${label}: ${words}`} title={words}>
      {ORDER.filter(state => counts[state]).map(state => (
        <span
          key={state}
          data-state={state}
          style={{ flexGrow: counts[state], background: `var(${colourOf(state)})` }}
        />
      ))}
    </div>
  );
}

/** A line of the last values, scaled to the largest; a flat floor when there is nothing. */
export function Sparkline({ values, label }: { values: readonly number[]; label: string }): React.JSX.Element {
  const top = Math.max(...values, 1e-9);
  const step = values.length > 1 ? 100 / (values.length - 1) : 0;
  const points = values.map((value, i) => `${(i * step).toFixed(1)},${(19 - (value / top) * 18).toFixed(1)}`);
  return (
    <svg
      className="parslab-Sparkline"
      viewBox="0 0 100 20"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {points.length > 1 && (
        <>
          <polygon points={`0,20 ${points.join(' ')} 100,20`} />
          <polyline points={points.join(' ')} />
        </>
      )}
    </svg>
  );
}
