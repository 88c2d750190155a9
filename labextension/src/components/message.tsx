/** What a view says instead of, or above, its content: one sentence that tells what to do. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun } from '../tokens';
import { moment } from './format';

export interface IStanding {
  /** There is something to show besides the sentence. */
  readonly content: boolean;
  readonly level: 'info' | 'warning' | 'error';
  readonly text: string;
  /** Whether the run is there to go on with. */
  readonly attach?: boolean;
}

/** What is to be said of the run as a whole; null when it simply runs. */
export function standing(run: IRun | null, trans: TranslationBundle): IStanding | null {
  const content = run?.info != null;
  if (!run) {
    return {
      content,
      level: 'info',
      text: trans.__('Open a notebook and start its kernel to see its Parsl tasks here.')
    };
  }
  switch (run.status) {
    case 'live':
      return null;
    case 'connecting':
      return { content, level: 'info', text: trans.__('Waiting for the kernel of this notebook to start.') };
    case 'waiting':
      return run.reason
        ? { content, level: 'error', text: trans.__('%1 Run parslab.load() again if this stays.', run.reason) }
        : { content, level: 'info', text: trans.__('Waiting for the run to tell what it does.') };
    case 'lost':
      return isThere(run)
        ? { content, level: 'warning', text: stillThere(run, trans), attach: run.reason === 'restarted' }
        : { content, level: 'warning', text: lost(run.reason, trans) };
    case 'ended':
      return { content, level: 'info', text: ended(run, trans) };
    case 'none':
      return {
        content: false,
        level: 'info',
        text: trans.__('Run parslab.load() or %parsl load in this notebook to see its tasks here.')
      };
  }
}

/** Whether a run that was left by its kernel has not ended yet, as far as can be told from here. */
function isThere(run: IRun): boolean {
  return run.stays !== null && Date.now() / 1000 < run.stays;
}

function stillThere(run: IRun, trans: TranslationBundle): string {
  const what = [run.info?.run ?? '', moment(run.stays ?? 0)];
  return run.reason === 'restarted'
    ? trans.__(
        'The kernel was restarted, and run %1 is still there (until %2): go on with it here, or by %parsl load.',
        ...what
      )
    : trans.__(
        'The kernel is gone, and run %1 is still there (until %2): restart the kernel and go on with %parsl load.',
        ...what
      );
}

function lost(reason: string, trans: TranslationBundle): string {
  if (reason === 'restarted') {
    return trans.__('The kernel was restarted: run parslab.load() again to go on.');
  }
  if (reason === 'dead') {
    return trans.__('The kernel is gone: restart it and run parslab.load() to go on.');
  }
  return trans.__('The connection to the kernel is lost: this is what was known last.');
}

function ended(run: IRun, trans: TranslationBundle): string {
  const start = trans.__('Run parslab.load() to start another.');
  return run.reason
    ? trans.__('This run has ended (%1). %2', run.reason.replace(/\.$/, ''), start)
    : trans.__('This run has ended. %1', start);
}

export interface IBannerProps {
  standing: IStanding;
  trans: TranslationBundle;
  onAttach: () => void;
}

export function Banner({ standing, trans, onAttach }: IBannerProps): React.JSX.Element {
  const { level, text, attach } = standing;
  return (
    <div className={`parslab-Banner parslab-mod-${level}`} role={level === 'info' ? 'status' : 'alert'}>
      {text}
      {attach && (
        <button type="button" className="parslab-Button" onClick={onAttach}>
          {trans.__('Go on with it')}
        </button>
      )}
    </div>
  );
}
