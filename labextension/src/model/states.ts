/** What is true of a task in each state; all answers come from the generated table of states. */
import type { ITaskStateInfo, TaskState } from '../protocol';
import { TASK_STATES } from '../protocol';

/** All task states in the order of a task's life, which legends and counters follow. */
export const STATES = Object.keys(TASK_STATES) as readonly TaskState[];

export function isTaskState(state: string): state is TaskState {
  return state in TASK_STATES;
}

/** The facts about a state; states of a newer kernel look like pending ones. */
export function infoOf(state: string): ITaskStateInfo {
  return TASK_STATES[isTaskState(state) ? state : 'pending'];
}

/** Whether a task stays in this state unless it is retried. */
export function isFinal(state: string): boolean {
  return infoOf(state).final;
}

/** Whether a task in this state has ended without a result, so that it can be retried. */
export function isRetriable(state: string): boolean {
  const { final, group } = infoOf(state);
  return final && group !== 'succeeded';
}

/** Whether a task in this state has ended with the result of an earlier equal call. */
export function isMemoized(state: string): boolean {
  const { group, has_run } = infoOf(state);
  return group === 'succeeded' && !has_run;
}

/** Whether no attempt of a task in this state has begun, or the next one has not. */
export function isWaiting(state: string): boolean {
  const { final, has_run } = infoOf(state);
  return !final && !has_run;
}

/** How many tasks are in any of these states. */
export function sum(counts: Readonly<Record<string, number>>, states: readonly string[]): number {
  return states.reduce((total, state) => total + (counts[state] ?? 0), 0);
}
