/** How long a run outlives its notebook: the current time, and the choices. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun } from '../tokens';
import { runMoment, span } from './format';

const HOUR = 3600;

/** Choices in seconds; with 0, the run ends with its last client. */
const CHOICES: readonly number[] = [600, HOUR, 8 * HOUR, 0];

export interface ILease {
  readonly seconds: number;
  readonly label: string;
}

/** The choices and the current time, in ascending order with 0 at the end. */
export function leases(linger: number, trans: TranslationBundle): ILease[] {
  const all = [...new Set([linger, ...CHOICES])].sort((a, b) => (a || Infinity) - (b || Infinity));
  return all.map(seconds => ({
    seconds,
    label: seconds ? trans.__('stays for %1', span(seconds)) : trans.__('ends with its kernel')
  }));
}

export interface ILeaseProps {
  run: IRun;
  trans: TranslationBundle;
  onKeep: (seconds: number) => void;
}

/** One line in the header of the panel. */
export function Lease({ run, trans, onKeep }: ILeaseProps): React.JSX.Element | null {
  const { info } = run;
  if (!info || run.status !== 'live') {
    return null;
  }
  const others = info.clients.length - 1;
  const title = trans.__('How long the run stays after its last notebook or script has left');
  return (
    <div className="parslab-Lease" data-linger={info.linger}>
      <label title={title}>
        {trans.__('Without its notebook, the run')}{' '}
        <select value={info.linger} onChange={event => onKeep(Number(event.target.value))}>
          {leases(info.linger, trans).map(({ seconds, label }) => (
            <option key={seconds} value={seconds}>
              {label}
            </option>
          ))}
        </select>
      </label>
      {info.job_ends !== null && (
        <span
          className="parslab-Lease-job"
          title={trans.__(
            'The host of the run belongs to this job. %parsl handover in the notebook of the next job moves the run there.'
          )}
        >
          {trans.__('%1 ends at %2', info.job, runMoment(info.job_ends, run))}
        </span>
      )}
      {others > 0 && (
        <span>{trans._n('shared with one other client', 'shared with %1 other clients', others)}</span>
      )}
    </div>
  );
}
