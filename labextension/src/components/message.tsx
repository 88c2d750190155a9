/** The sentence that a view shows instead of its content or above it: the state of the run and what to do. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun } from '../tokens';
import { moment } from './format';

export interface IStatusMessage {
  /** Whether there is something to show besides the sentence. */
  readonly content: boolean;
  readonly level: 'info' | 'warning' | 'error';
  readonly text: string;
  /** Whether the kernel can attach to the run again. */
  readonly attach?: boolean;
}

/** The message about the state of a run; null while it is live. */
export function statusMessage(run: IRun | null, trans: TranslationBundle): IStatusMessage | null {
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
        ? {
            content,
            level: 'error',
            text: trans.__('%1 Run parslab.load() again if this message stays.', run.reason)
          }
        : { content, level: 'info', text: trans.__('Waiting for the state of the run.') };
    case 'lost':
      return mayExist(run)
        ? { content, level: 'warning', text: orphaned(run, trans), attach: run.reason === 'restarted' }
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

/** Whether a run whose kernel has left still exists, as far as the panel knows. */
function mayExist(run: IRun): boolean {
  return run.expires !== null && Date.now() / 1000 < run.expires;
}

function orphaned(run: IRun, trans: TranslationBundle): string {
  const what = [run.info?.run ?? '', moment(run.expires ?? 0)];
  return run.reason === 'restarted'
    ? trans.__('The kernel was restarted. Run %1 exists until %2: continue it here or with %parsl load.', ...what)
    : trans.__(
        'The kernel is gone. Run %1 exists until %2: restart the kernel and continue the run with %parsl load.',
        ...what
      );
}

function lost(reason: string, trans: TranslationBundle): string {
  if (reason === 'restarted') {
    return trans.__('The kernel was restarted: run parslab.load() to start another run.');
  }
  if (reason === 'dead') {
    return trans.__('The kernel is gone: restart it and run parslab.load() to start another run.');
  }
  return trans.__('The connection to the kernel is lost. The panel shows the last known state.');
}

function ended(run: IRun, trans: TranslationBundle): string {
  const start = trans.__('Run parslab.load() to start another.');
  return run.reason
    ? trans.__('This run has ended (%1). %2', run.reason.replace(/\.$/, ''), start)
    : trans.__('This run has ended. %1', start);
}

export interface IBannerProps {
  statusMessage: IStatusMessage;
  trans: TranslationBundle;
  onAttach: () => void;
}

export function Banner({ statusMessage, trans, onAttach }: IBannerProps): React.JSX.Element {
  const { level, text, attach } = statusMessage;
  return (
    <div className={`parslab-Banner parslab-mod-${level}`} role={level === 'info' ? 'status' : 'alert'}>
      {text}
      {attach && (
        <button type="button" className="parslab-Button" onClick={onAttach}>
          {trans.__('Continue the run')}
        </button>
      )}
    </div>
  );
}
