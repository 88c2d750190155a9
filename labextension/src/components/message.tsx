/** What a view says instead of, or above, its content: one sentence that tells what to do. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun } from '../tokens';

export interface IStanding {
  /** There is something to show besides the sentence. */
  readonly content: boolean;
  readonly level: 'info' | 'warning' | 'error';
  readonly text: string;
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
      return { content, level: 'warning', text: lost(run.reason, trans) };
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

export function Banner({ standing: { level, text } }: { standing: IStanding }): React.JSX.Element {
  return (
    <div className={`parslab-Banner parslab-mod-${level}`} role={level === 'info' ? 'status' : 'alert'}>
      {text}
    </div>
  );
}
