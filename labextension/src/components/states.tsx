/**
 * The symbol of the state of a task, block or manager. Its colour and its shape both identify the state, so that users
 * who see no colours can read it. Tasks with a solid symbol have run, tasks with a hollow one have not. The graph
 * (canvas) and the other views (SVG) use the same shapes.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { infoOf, isTaskState } from '../model/states';
import type { BlockState, Hue, ManagerState, Shape, TaskState } from '../protocol';
import { taskStateLabels, taskStateSentences } from '../protocol';

/** States that the overview shows even without a task; another state appears with its first task. */
export const ALWAYS_SHOWN: readonly TaskState[] = ['pending', 'running', 'exec_done', 'failed'];

export interface ISymbol {
  /** An svg path in a square from -1 to 1. */
  readonly path: string;
  readonly solid: boolean;
}

const PATHS: Readonly<Record<Shape, string>> = {
  circle: 'M.8 0A.8.8 0 1 1-.8 0 .8.8 0 1 1 .8 0Z',
  diamond: 'M0-.95.95 0 0 .95-.95 0Z',
  triangle: 'M-.65-.85.95 0-.65.85Z',
  triangle_back: 'M.65-.85-.95 0 .65.85Z',
  hexagon: 'M-.9 0-.45-.78H.45L.9 0 .45.78H-.45Z',
  square: 'M-.75-.75H.75V.75H-.75Z',
  bar: 'M-.9-.32H.9V.32H-.9Z'
};

/** The CSS variable of each colour; `base.css` derives its value from the theme. */
const HUES: Readonly<Record<Hue, string>> = {
  neutral: '--parslab-neutral',
  info: '--parslab-info',
  brand: '--parslab-brand',
  success: '--parslab-success',
  warning: '--parslab-warning',
  error: '--parslab-error'
};

export function symbolOf(state: string): ISymbol {
  const { shape, has_run } = infoOf(state);
  return { path: PATHS[shape], solid: has_run };
}

/** The CSS variable that holds the colour of a state. */
export function colourOf(state: string): string {
  return HUES[infoOf(state).hue];
}

/** The name of a state. */
export function labelOf(state: string, trans: TranslationBundle): string {
  return isTaskState(state) ? taskStateLabels(trans)[state] : state;
}

/** A sentence about the meaning of a state; empty for a state of a newer kernel. */
export function sentenceOf(state: string, trans: TranslationBundle): string {
  return isTaskState(state) ? taskStateSentences(trans)[state] : '';
}

/** The task state whose symbol a block or manager shows. */
const SYMBOLS: Readonly<Record<BlockState | ManagerState, TaskState>> = {
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

function isBlockState(state: string): state is BlockState | ManagerState {
  return state in SYMBOLS;
}

/** The name of the state of a block or manager. */
export function blockLabel(state: string, trans: TranslationBundle): string {
  const labels: Record<BlockState | ManagerState, string> = {
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
  return isBlockState(state) ? labels[state] : state;
}

/** The symbol of the state of a block or manager. */
export function BlockMark({ state }: { state: string }): React.JSX.Element {
  return <StateMark state={isBlockState(state) ? SYMBOLS[state] : 'pending'} />;
}

/** The symbol of a task state, hidden from screen readers: its parent or a text beside it has the label. */
export function StateMark({ state }: { state: string }): React.JSX.Element {
  const { path, solid } = symbolOf(state);
  const colour = `var(${colourOf(state)})`;
  return (
    <svg className="parslab-StateMark" viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true">
      <path d={path} fill={solid ? colour : 'none'} stroke={colour} strokeWidth={solid ? 0.1 : 0.36} />
    </svg>
  );
}
