/** How long a run outlives its notebook: what is so, and what can be chosen. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun } from '../tokens';
import { span } from './format';

const HOUR = 3600;

/** What can always be chosen. */
const CHOICES: readonly number[] = [600, HOUR, 8 * HOUR, 0];

export interface ILease {
  readonly seconds: number;
  readonly label: string;
}

/** What can be chosen, and what is so: the longest at the end, but for none. */
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

/** One quiet line of the head of the panel. */
export function Lease({ run, trans, onKeep }: ILeaseProps): React.JSX.Element | null {
  const { info } = run;
  if (!info || run.status !== 'live') {
    return null;
  }
  const others = info.clients.length - 1;
  const title = trans.__('What becomes of the run when the last notebook or script has left it');
  return (
    <div className="parslab-Lease" data-linger={info.linger}>
      <label title={title}>
        {trans.__('Without its notebook it')}{' '}
        <select value={info.linger} onChange={event => onKeep(Number(event.target.value))}>
          {leases(info.linger, trans).map(({ seconds, label }) => (
            <option key={seconds} value={seconds}>
              {label}
            </option>
          ))}
        </select>
      </label>
      {others > 0 && <span>{trans._n('shared with another', 'shared with %1 others', others)}</span>}
    </div>
  );
}
