/** The attempts of a task, each with its time, its worker and the reason of its failure. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { RunClock } from '../../components/format';
import { duration, runMoment } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import type { IAttempt } from '../../protocol';

/** Attempts that the list shows; it only counts older ones. */
const LISTED = 20;

export interface IAttemptsProps {
  attempts: readonly IAttempt[];
  /** The error of the task, which the last attempt does not repeat. */
  error: string;
  /** The kernel's time, for the duration of a running attempt. */
  clock: RunClock;
  live: boolean;
  trans: TranslationBundle;
}

/** The list of attempts; empty for a task with one attempt. */
export function Attempts(props: IAttemptsProps): React.JSX.Element | null {
  const { attempts, trans } = props;
  if (attempts.length < 2) {
    return null;
  }
  const title = trans.__('Attempts');
  const left = attempts.length - LISTED;
  return (
    <section>
      <h3>{title}</h3>
      <ol className="parslab-Attempts" aria-label={title}>
        {left > 0 && (
          <li className="parslab-Quiet">{trans._n('and an earlier one', 'and %1 earlier ones', left)}</li>
        )}
        {attempts.slice(-LISTED).map(attempt => (
          <Attempt key={attempt.attempt} {...props} attempt={attempt} />
        ))}
      </ol>
    </section>
  );
}

function Attempt(props: IAttemptsProps & { attempt: IAttempt }): React.JSX.Element {
  const { attempt: tried, attempts, clock, live, trans } = props;
  const { started, ended, state } = tried;
  const when = started ?? ended; // of one that was lost at once it is not known when it began
  const known = tried === attempts[attempts.length - 1] && tried.error === props.error;
  const end = ended ?? (live && (state === 'running' || state === 'staging') ? clock.now : null);
  const where = [tried.host, tried.worker].filter(place => place).join(', ');
  return (
    <li data-attempt={tried.attempt} data-state={state}>
      <span role="img" aria-label={labelOf(state, trans)} title={labelOf(state, trans)}>
        <StateMark state={state} />
      </span>
      <b>{tried.attempt + 1}</b>
      <span>{when === null ? '' : runMoment(when, clock)}</span>
      <span className="parslab-Attempts-time">
        {started === null || end === null ? '' : duration(end - started)}
      </span>
      <span className="parslab-Attempts-reason">{reasonLabel(tried.reason, trans)}</span>
      <span className="parslab-Attempts-where" title={where}>
        {tried.host || tried.worker}
      </span>
      {tried.error && !known && <p className="parslab-Attempts-why">{tried.error}</p>}
    </li>
  );
}

/** The name of the reason of a failure; a reason of a newer kernel stays as it is. */
export function reasonLabel(reason: string, trans: TranslationBundle): string {
  const labels: Record<string, string> = {
    app_error: trans.__('Exception'),
    worker_lost: trans.__('Worker lost'),
    node_lost: trans.__('Node lost'),
    walltime: trans.__('Walltime'),
    out_of_memory: trans.__('Out of memory'),
    serialization: trans.__('Pickling'),
    dependency: trans.__('Dependency'),
    cancelled: trans.__('Cancelled'),
    never_run: trans.__('No worker'),
    file_lost: trans.__('File lost'),
    kernel_lost: trans.__('Run lost'),
    retry_handler: trans.__('Retry handler')
  };
  return labels[reason] ?? reason;
}
