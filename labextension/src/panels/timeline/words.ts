/** What the timeline shows, in words. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { count, duration, taskLabel } from '../../components/format';
import { labelOf } from '../../components/states';
import type { IBar } from '../../model/timeline';
import type { ITimeline, ITimelineRow } from '../../protocol';

/** The name of a row. */
export function rowName(row: ITimelineRow, trans: TranslationBundle): string {
  if (!row.executor && !row.names.some(name => name)) {
    return trans.__('In the notebook process');
  }
  return row.worker || headingOf(row, trans);
}

/** What a row and its neighbours have in common: the executor, the block and the host. */
export function headingOf(row: ITimelineRow, trans: TranslationBundle): string {
  if (!row.executor && !row.names.some(name => name)) {
    return trans.__('In the notebook process');
  }
  const block = row.block ? trans.__('block %1', row.block) : '';
  return [row.executor, block, row.host || row.node].filter(part => part).join(' · ');
}

/** The tasks of a bar. */
export function barWords(bar: IBar, row: ITimelineRow, apps: readonly string[], trans: TranslationBundle): string {
  const length = duration(bar.end - bar.start);
  const app = apps[bar.app] ?? trans.__('several apps');
  if (bar.tasks === 1) {
    return `#${taskLabel(bar.task)} ${app}: ${labelOf(bar.state, trans).toLowerCase()}, ${length}`;
  }
  const share = percent(bar.busy / ((bar.end - bar.start) * row.workers || 1));
  const failed = bar.failed ? `, ${trans._n('1 failed', '%1 failed', bar.failed)}` : '';
  return `${trans.__('%1 tasks', count(bar.tasks))}${failed}, ${app}: ${trans.__('busy for %1 of %2', share, length)}`;
}

/** The whole picture in a sentence or two, for people who do not see it. */
export function summary(picture: ITimeline, trans: TranslationBundle): string {
  const { rows, utilisation, since, until } = picture;
  const workers = rows.filter(row => row.names.some(name => name)).reduce((sum, row) => sum + row.workers, 0);
  const spent = rows
    .filter(row => row.names.some(name => name))
    .reduce((sum, row) => sum + row.busy * row.workers, 0);
  const waited = Math.max(0, ...utilisation.map(point => point[3]));
  return [
    trans._n('1 worker', '%2 workers', workers, count(workers)),
    trans.__('busy for %1 of %2', percent(workers ? spent / workers : 0), duration(until - since)),
    trans.__('at most %1 tasks waiting', count(Math.ceil(waited)))
  ].join(', ');
}

function percent(share: number): string {
  return `${Math.round(Math.min(1, Math.max(0, share)) * 100)} %`;
}
