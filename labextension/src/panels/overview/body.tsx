/** The summary of the run: progress, tasks by state, rate, workers, apps and notices. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Meter, Sparkline, StateBar } from '../../components/bars';
import { count, rate, runMoment } from '../../components/format';
import { RetryFailed } from '../../components/retry';
import { ALWAYS_SHOWN, labelOf, sentenceOf, StateMark } from '../../components/states';
import { STATES, sum } from '../../model/states';
import { FAILURES, FINAL } from '../../protocol';
import type { IOverview, IWorkerRow } from '../../protocol';
import type { IRun } from '../../tokens';

export interface IOverviewBodyProps {
  run: IRun;
  trans: TranslationBundle;
  onCancelAll: () => void;
  onRetryFailed: () => void;
  /** Opens the table on these tasks. */
  onShowTasks: (filter: { states?: string[]; apps?: string[] }) => void;
}

/** Notices that the overview shows. */
const NOTICES = 5;
/** Workers that the overview draws; it only counts more than these. */
const WORKERS = 96;

export function OverviewBody(props: IOverviewBodyProps): React.JSX.Element | null {
  const { run, trans, onCancelAll, onRetryFailed, onShowTasks } = props;
  const { overview } = run;
  if (!overview) {
    return null;
  }
  const ended = sum(overview.counts, FINAL);
  const open = overview.tasks_total - ended;
  const failed = sum(overview.counts, FAILURES);
  return (
    <div className="parslab-Overview">
      <section>
        <div className="parslab-Overview-progress">
          <span>{trans.__('%1 of %2 ended', count(ended), count(overview.tasks_total))}</span>
          <div>
            {failed > 0 && (
              <RetryFailed failed={failed} live={run.status === 'live'} trans={trans} onRetry={onRetryFailed} />
            )}
            <button
              type="button"
              className="parslab-Button"
              disabled={open === 0 || run.status !== 'live'}
              onClick={onCancelAll}
            >
              {trans.__('Cancel all')}
            </button>
          </div>
        </div>
        <StateBar counts={overview.counts} label={trans.__('Progress')} trans={trans} />
        <Counters counts={overview.counts} trans={trans} onShow={state => onShowTasks({ states: [state] })} />
      </section>
      <section className="parslab-Overview-pair">
        <Speed run={run} overview={overview} trans={trans} />
        <Workers overview={overview} workers={[...run.workers.values()]} trans={trans} />
      </section>
      <Apps overview={overview} trans={trans} onShow={app => onShowTasks({ apps: [app] })} />
      <Notices run={run} trans={trans} />
    </div>
  );
}

function Counters(props: {
  counts: Record<string, number>;
  trans: TranslationBundle;
  onShow: (state: string) => void;
}): React.JSX.Element {
  const { counts, trans, onShow } = props;
  return (
    <ul className="parslab-Counters" aria-label={trans.__('Tasks by state')}>
      {STATES.filter(state => ALWAYS_SHOWN.includes(state) || counts[state]).map(state => (
        <li key={state} data-state={state} data-count={counts[state] ?? 0}>
          <button type="button" title={sentenceOf(state, trans)} onClick={() => onShow(state)}>
            <StateMark state={state} />
            <span className="parslab-Counters-label">{labelOf(state, trans)}</span>
            <span className="parslab-Counters-count">{count(counts[state] ?? 0)}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function Speed(props: { run: IRun; overview: IOverview; trans: TranslationBundle }): React.JSX.Element {
  const { run, overview, trans } = props;
  return (
    <div className="parslab-Figure">
      <h3>{trans.__('Tasks / s')}</h3>
      <output data-figure="rate">{rate(run.status === 'live' ? overview.rate : 0)}</output>
      <Sparkline values={run.rates} label={trans.__('Tasks finished per second over the last minute')} />
    </div>
  );
}

function Workers(props: {
  overview: IOverview;
  workers: IWorkerRow[];
  trans: TranslationBundle;
}): React.JSX.Element {
  const { overview, workers, trans } = props;
  const { workers_busy: busy, workers_total: total } = overview;
  const alive = workers.filter(row => row.state !== 'dead');
  const words = trans.__('%1 of %2 workers busy', busy, total);
  return (
    <div className="parslab-Figure">
      <h3>{trans.__('Workers busy')}</h3>
      <output data-figure="workers" data-busy={busy} data-total={total}>
        {busy}
        <small> / {total}</small>
      </output>
      {alive.length > 0 && alive.length <= WORKERS ? (
        <div className="parslab-Workers" role="img" aria-label={words}>
          {alive.map(row => (
            <span key={row.worker} data-state={row.state} title={workerWords(row, trans)} />
          ))}
        </div>
      ) : (
        <Meter value={busy} max={total} label={trans.__('Workers busy')} words={words} />
      )}
    </div>
  );
}

function workerWords(row: IWorkerRow, trans: TranslationBundle): string {
  return trans.__('%1 (%2, pid %3): %4, %5 done', row.worker, row.host, row.pid, row.state, row.done);
}

function Apps(props: {
  overview: IOverview;
  trans: TranslationBundle;
  onShow: (app: string) => void;
}): React.JSX.Element | null {
  const { overview, trans, onShow } = props;
  const names = Object.keys(overview.apps);
  if (names.length === 0) {
    return null;
  }
  return (
    <section>
      <h3>{trans.__('Apps')}</h3>
      <ul className="parslab-Apps">
        {names.map(name => {
          const counts = overview.apps[name];
          const all = Object.values(counts).reduce((a, b) => a + b, 0);
          const failed = sum(counts, FAILURES);
          return (
            <li key={name} data-app={name} data-count={all}>
              <button type="button" onClick={() => onShow(name)} title={trans.__('Show the tasks of %1', name)}>
                <span className="parslab-Apps-name">{name}</span>
                {failed > 0 && <span className="parslab-Apps-failed">{trans.__('%1 failed', count(failed))}</span>}
                <span className="parslab-Apps-count">
                  {count(sum(counts, FINAL))} / {count(all)}
                </span>
                <StateBar counts={counts} label={name} trans={trans} />
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Notices({ run, trans }: { run: IRun; trans: TranslationBundle }): React.JSX.Element | null {
  const { notices } = run;
  if (notices.length === 0) {
    return null;
  }
  const shown = notices.slice(-NOTICES).reverse();
  return (
    <section>
      <h3>{trans.__('Notices')}</h3>
      <ul className="parslab-Notices" role="log">
        {shown.map(notice => (
          <li key={`${notice.time} ${notice.text}`} data-level={notice.level}>
            <time>{runMoment(notice.time, run)}</time> {notice.text}
          </li>
        ))}
      </ul>
    </section>
  );
}
