/** The sentence that a view shows instead of its content or above it: the state of the run and what to do. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { parslIcon } from '../icons';
import type { IRun } from '../tokens';
import { moment } from './format';

export interface IStatusMessage {
  /** Whether there is something to show besides the sentence. */
  readonly content: boolean;
  readonly level: 'info' | 'warning' | 'error';
  /** Code is between backticks. */
  readonly text: string;
  /** The label of the button that continues the run; undefined if the run cannot be continued. */
  readonly attach?: string;
}

/** The message about the state of a run; null while it is live and has its kernel. */
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
      return run.resumable ? { content, level: 'warning', ...orphaned(run, trans) } : null;
    case 'connecting':
      return { content, level: 'info', text: trans.__('Waiting for the kernel of this notebook to start.') };
    case 'waiting':
      return run.reason
        ? {
            content,
            level: 'error',
            text: trans.__('%1 Run `parslab.load()` again if this message stays.', run.reason)
          }
        : { content, level: 'info', text: trans.__('Waiting for the state of the run.') };
    case 'lost':
      return run.resumable
        ? { content, level: 'warning', ...orphaned(run, trans) }
        : { content, level: 'warning', text: lost(run.reason, trans) };
    case 'ended':
      return { content, level: 'info', text: ended(run, trans) };
    case 'none':
      return { content: false, level: 'info', ...none(run, trans) };
  }
}

type Offer = Pick<IStatusMessage, 'text' | 'attach'>;

/** What the user can do in a kernel that has no run. */
function none(run: IRun, trans: TranslationBundle): Offer {
  const { inspection, resumable } = run;
  if (inspection?.python === false) {
    return { text: trans.__('Parsl tasks need a Python kernel: this notebook has another one.') };
  }
  if (inspection?.installed === false) {
    return {
      text: trans.__(
        'The kernel of this notebook has no parslab: run `%pip install parslab`, then `parslab.load()`.'
      )
    };
  }
  if (resumable) {
    return {
      text: trans.__(
        'Run %1 of this notebook is still here: continue it now or with `parslab.load()`.',
        resumable
      ),
      attach: trans.__('Continue the run')
    };
  }
  return { text: trans.__('Run `parslab.load()` or `%parsl load` in this notebook to see its tasks here.') };
}

/** What the user can do about a run that goes on without its kernel. */
function orphaned(run: IRun, trans: TranslationBundle): Offer {
  const attach =
    run.kernelGone === 'dead' ? trans.__('Start a kernel and continue') : trans.__('Continue the run');
  const text = trans.__(
    '%1 %2 %3',
    whatHappened(run.kernelGone, trans),
    howLong(run, trans),
    howToContinue(run, trans)
  );
  return { text, attach };
}

function whatHappened(reason: string, trans: TranslationBundle): string {
  const sentences: Record<string, string> = {
    restarted: trans.__('The kernel was restarted.'),
    left: trans.__('The kernel has left the run.')
  };
  return sentences[reason] ?? trans.__('The kernel is gone.');
}

function howLong(run: IRun, trans: TranslationBundle): string {
  return run.expires === Infinity
    ? trans.__('Run %1 goes on, because it has other clients.', run.resumable)
    : trans.__('Run %1 exists until %2.', run.resumable, moment(run.expires ?? 0));
}

function howToContinue(run: IRun, trans: TranslationBundle): string {
  return run.kernelGone === 'dead'
    ? trans.__('Continue it in a new kernel, here or with `parslab.load()`.')
    : trans.__('Continue it here or with `parslab.load()`.');
}

/** What the user can do when the run has ended with its kernel, or the page has no connection. */
function lost(reason: string, trans: TranslationBundle): string {
  switch (reason) {
    case 'restarted':
      return trans.__('The kernel was restarted: run `parslab.load()` to start another run.');
    case 'dead':
      return trans.__('The kernel is gone: restart it and run `parslab.load()` to start another run.');
    case 'left':
      return trans.__('The kernel has left the run: run `parslab.load()` to start another.');
    default:
      return trans.__('The connection to the kernel is lost. The panel shows the last known state.');
  }
}

function ended(run: IRun, trans: TranslationBundle): string {
  const start = trans.__('Run `parslab.load()` to start another.');
  return run.reason
    ? trans.__('This run has ended (%1). %2', run.reason.replace(/\.$/, ''), start)
    : trans.__('This run has ended. %1', start);
}

/** Why the panel stands still while the kernel is busy, and what to do; null if it does not. */
export function routeMessage(run: IRun, trans: TranslationBundle): string | null {
  if (run.status !== 'live' || run.route === 'server' || !run.missing) {
    return null;
  }
  switch (run.missing.half) {
    case 'server':
      return trans.__(
        'The Jupyter server has no parslab, so this panel waits while C code of a cell holds the kernel: run `pip install parslab` where the server runs, and restart it.'
      );
    case 'old-server':
      return trans.__(
        'The Jupyter server runs an older parslab than this page, so this panel waits while C code of a cell holds the kernel: restart `jupyter lab`.'
      );
    case 'page':
      return trans.__('This page is older than the parslab of the Jupyter server: reload the page.');
    case 'process':
      return trans.__(
        'The process of this run has gone. The panel shows what comes next when the kernel answers.'
      );
    case 'run':
      return run.missing.text;
  }
}

export interface IBannerProps {
  statusMessage: IStatusMessage;
  onAttach: () => void;
}

/** The message above the content. */
export function Banner({ statusMessage, onAttach }: IBannerProps): React.JSX.Element {
  const { level, text, attach } = statusMessage;
  return (
    <div className={`parslab-Banner parslab-mod-${level}`} role={level === 'info' ? 'status' : 'alert'}>
      <Sentence text={text} />
      {attach && <AttachButton label={attach} onAttach={onAttach} />}
    </div>
  );
}

/** The message instead of the content. */
export function Empty({ statusMessage, onAttach }: IBannerProps): React.JSX.Element {
  const { level, text, attach } = statusMessage;
  return (
    <div className="parslab-Empty" role={level === 'info' ? 'status' : 'alert'}>
      <parslIcon.react tag="span" className="parslab-Empty-icon" width="40px" height="40px" />
      <p>
        <Sentence text={text} />
      </p>
      {attach && <AttachButton label={attach} onAttach={onAttach} />}
    </div>
  );
}

/** A text whose code is set as code: users copy it, and no line breaks within it. */
export function Sentence({ text }: { text: string }): React.JSX.Element {
  return <>{text.split('`').map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</>;
}

function AttachButton({ label, onAttach }: { label: string; onAttach: () => void }): React.JSX.Element {
  return (
    <button type="button" className="parslab-Button" onClick={onAttach}>
      {label}
    </button>
  );
}
