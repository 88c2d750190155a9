/** Small charts: tasks by state, a number over time, and the used share of a resource. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count } from './format';
import { isFinal, isWaiting, STATES } from '../model/states';
import { colourOf, labelOf } from './states';

/** Ended states first, then the state nearest to the end: the bar grows from the left like a progress bar. */
const ORDER = [...STATES.filter(isFinal), ...STATES.filter(state => !isFinal(state)).reverse()];

/** The counts by state as a text: `12 done, 3 running`. */
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
          data-waiting={isWaiting(state)}
          style={{ flexGrow: counts[state], background: `var(${colourOf(state)})` }}
        />
      ))}
    </div>
  );
}

/** The number of values in a full sparkline. */
export const SPAN = 60;

/**
 * A line of the last values, scaled to the largest one; a flat line without values. The newest value is at the right
 * edge. All values have the same width, so that a few values do not look like a whole minute.
 */
export function Sparkline({ values, label }: { values: readonly number[]; label: string }): React.JSX.Element {
  const shown = values.slice(-SPAN);
  const top = Math.max(...shown, 1e-9);
  const at = (i: number) => (100 - ((shown.length - 1 - i) * 100) / (SPAN - 1)).toFixed(1);
  const points = shown.map((value, i) => `${at(i)},${(19 - (value / top) * 18).toFixed(1)}`);
  return (
    <svg
      className="parslab-Sparkline"
      viewBox="0 0 100 20"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <path className="parslab-Sparkline-floor" d="M0 19.5H100" />
      {points.length > 1 && (
        <>
          <polygon points={`${at(0)},20 ${points.join(' ')} 100,20`} />
          <polyline points={points.join(' ')} />
        </>
      )}
    </svg>
  );
}

export interface IStepsProps {
  /** `[time, value]`: each value lasts until the next one. */
  points: readonly (readonly [number, number])[];
  from: number;
  to: number;
  label: string;
}

/** A count over time as a step chart, from zero to its largest value. */
export function Steps({ points, from, to, label }: IStepsProps): React.JSX.Element {
  const top = Math.max(1, ...points.map(([, value]) => value));
  const x = (time: number) => ((100 * Math.max(0, time - from)) / Math.max(to - from, 1e-9)).toFixed(2);
  const y = (value: number) => (23 - (value / top) * 22).toFixed(1);
  const path = points
    .map(([time, value], i) => (i ? `H${x(time)}V${y(value)}` : `M${x(time)} ${y(value)}`))
    .join('');
  return (
    <svg className="parslab-Steps" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <path className="parslab-Sparkline-floor" d="M0 23.5H100" />
      {points.length > 0 && (
        <>
          <path className="parslab-Steps-area" d={`${path}H100V23.5H${x(points[0][0])}Z`} />
          <path className="parslab-Steps-line" d={`${path}H100`} />
        </>
      )}
    </svg>
  );
}

/** The used share of a resource. */
export function Meter(props: {
  value: number;
  max: number;
  label: string;
  words: string;
  /** Whether a high value is a warning. */
  scarce?: boolean;
}): React.JSX.Element {
  const { value, max, label, words, scarce } = props;
  const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  return (
    <div
      className="parslab-Meter"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={max}
      aria-valuenow={Math.min(value, max)}
      aria-valuetext={words}
      data-high={scarce === true && share > 0.9}
    >
      <span style={{ width: `${(100 * share).toFixed(1)}%` }} />
    </div>
  );
}
