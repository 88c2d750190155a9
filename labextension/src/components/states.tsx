/**
 * How a task's state looks: a colour and a shape, so that neither needs the other. Hollow shapes have not run (yet),
 * solid ones have. The shapes are the same in the graph (canvas) and everywhere else (svg).
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { TaskState } from '../protocol';

/** The states in the order of a life; every legend and counter follows it. */
export const STATES: readonly TaskState[] = [
  'pending',
  'ready',
  'launched',
  'running',
  'fail_retryable',
  'joining',
  'exec_done',
  'memo_done',
  'failed',
  'dep_fail',
  'cancelled'
];

/** States that every overview shows, even when no task is in them. */
export const ALWAYS: readonly TaskState[] = ['pending', 'running', 'exec_done', 'failed'];

export interface IShape {
  /** An svg path in a square from -1 to 1. */
  readonly path: string;
  readonly solid: boolean;
}

const CIRCLE = 'M.8 0A.8.8 0 1 1-.8 0 .8.8 0 1 1 .8 0Z';
const DIAMOND = 'M0-.95.95 0 0 .95-.95 0Z';
const TRIANGLE = 'M-.65-.85.95 0-.65.85Z';
const TRIANGLE_BACK = 'M.65-.85-.95 0 .65.85Z';
const HEXAGON = 'M-.9 0-.45-.78H.45L.9 0 .45.78H-.45Z';
const SQUARE = 'M-.75-.75H.75V.75H-.75Z';

const SHAPES: Record<string, IShape> = {
  pending: { path: CIRCLE, solid: false },
  ready: { path: DIAMOND, solid: false },
  launched: { path: TRIANGLE, solid: false },
  running: { path: TRIANGLE, solid: true },
  fail_retryable: { path: TRIANGLE_BACK, solid: false },
  joining: { path: DIAMOND, solid: true },
  exec_done: { path: CIRCLE, solid: true },
  memo_done: { path: HEXAGON, solid: false },
  failed: { path: SQUARE, solid: true },
  dep_fail: { path: SQUARE, solid: false },
  cancelled: { path: 'M-.9-.32H.9V.32H-.9Z', solid: true }
};

/** The shape of a state; states of a newer kernel look like pending ones. */
export function shapeOf(state: string): IShape {
  return SHAPES[state] ?? SHAPES.pending;
}

/** The CSS variable that holds the colour of a state. */
export function colourOf(state: string): string {
  return `--parslab-${state in SHAPES ? state : 'pending'}`;
}

/** What a state is called. */
export function labelOf(state: string, trans: TranslationBundle): string {
  const labels: Record<string, string> = {
    pending: trans.__('Pending'),
    ready: trans.__('Ready'),
    launched: trans.__('Launched'),
    running: trans.__('Running'),
    fail_retryable: trans.__('To be retried'),
    joining: trans.__('Joining'),
    exec_done: trans.__('Done'),
    memo_done: trans.__('Remembered'),
    failed: trans.__('Failed'),
    dep_fail: trans.__('Dep. failed'),
    cancelled: trans.__('Cancelled')
  };
  return labels[state] ?? state;
}

/** Blocks and managers look like tasks that are as far as they are. */
const LOOKS: Record<string, TaskState> = {
  requested: 'pending',
  queued: 'ready',
  running: 'running',
  ready: 'running',
  held: 'launched',
  draining: 'joining',
  finished: 'exec_done',
  gone: 'exec_done',
  failed: 'failed',
  lost: 'failed',
  refused: 'dep_fail',
  scaled_in: 'cancelled',
  missing: 'dep_fail'
};

/** What the state of a block or manager is called. */
export function blockLabel(state: string, trans: TranslationBundle): string {
  const labels: Record<string, string> = {
    requested: trans.__('Requested'),
    queued: trans.__('Queued'),
    running: trans.__('Running'),
    ready: trans.__('Working'),
    held: trans.__('Held'),
    draining: trans.__('Draining'),
    finished: trans.__('Finished'),
    gone: trans.__('Gone'),
    failed: trans.__('Failed'),
    lost: trans.__('Lost'),
    refused: trans.__('Refused'),
    scaled_in: trans.__('Scaled in'),
    missing: trans.__('Missing')
  };
  return labels[state] ?? state;
}

/** The mark of the state of a block or manager. */
export function BlockMark({ state }: { state: string }): React.JSX.Element {
  return <StateMark state={LOOKS[state] ?? 'pending'} />;
}

/** The mark of a state. Decoration: the label stands beside it or on what holds it. */
export function StateMark({ state }: { state: string }): React.JSX.Element {
  const { path, solid } = shapeOf(state);
  const colour = `var(${colourOf(state)})`;
  return (
    <svg className="parslab-StateMark" viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true">
      <path d={path} fill={solid ? colour : 'none'} stroke={colour} strokeWidth={solid ? 0.1 : 0.36} />
    </svg>
  );
}
