/**
 * The task table. Only the visible rows are in the document. The list keeps the focus and names the current row, so
 * the keyboard also works for rows that are not in the document.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import { sum } from '../../model/states';
import * as React from 'react';

import { count } from '../../components/format';
import { RetryFailed } from '../../components/retry';
import type { IQuery, TaskTable } from '../../model/tasks';
import type { ITaskRow } from '../../protocol';
import { FAILURES } from '../../protocol';
import type { IColumn } from './columns';
import { columns, columnStyle } from './columns';
import { Filters } from './filters';

/** Height of a row in pixels; the style sheet must use the same height. */
export const ROW = 24;
/** Rows above and below the visible ones that are in the document, too. */
const SPARE = 6;

export interface ITasksBodyProps {
  table: TaskTable;
  selected: number | null;
  trans: TranslationBundle;
  onOpen: (task: number) => void;
  /** Retries failed tasks; only those of `app` if it is given. */
  onRetryFailed: (app?: string) => void;
}

export function TasksBody(props: ITasksBodyProps): React.JSX.Element {
  const { table, trans } = props;
  const all = React.useMemo(() => columns(trans), [trans]);
  const { query, total, problem } = table;
  const filtered = query.text !== '' || query.states.length > 0 || query.apps.length > 0 || query.between !== null;
  return (
    <div className="parslab-Tasks">
      <style>{columnStyle(all)}</style>
      <Filters
        query={query}
        overview={table.run?.overview ?? null}
        origin={table.run?.info?.started ?? 0}
        trans={trans}
        onChange={part => table.setQuery(part)}
      />
      {problem && (
        <div className="parslab-Banner parslab-mod-error" role="alert">
          {problem}
        </div>
      )}
      <div className="parslab-Table" role="grid" aria-label={trans.__('Tasks')} aria-rowcount={total + 1}>
        <Heads all={all} query={query} trans={trans} onSort={part => table.setQuery(part)} />
        <Rows {...props} all={all} />
      </div>
      <div className="parslab-Tasks-foot">
        <span className="parslab-Tasks-total" role="status" data-total={total}>
          {filtered ? trans.__('%1 matching tasks', count(total)) : trans.__('%1 tasks', count(total))}
        </span>
        <Failed {...props} />
      </div>
    </div>
  );
}

/** Retries the failed tasks of the filtered app; without such a filter, those of all apps. */
function Failed({ table, trans, onRetryFailed }: ITasksBodyProps): React.JSX.Element | null {
  const { run, query } = table;
  const { overview } = run ?? {};
  const app: string | undefined = query.apps[0];
  const counts = app === undefined ? overview?.counts : overview?.apps[app];
  const failed = sum(counts ?? {}, FAILURES);
  if (failed === 0 || query.apps.length > 1) {
    return null;
  }
  const live = run?.status === 'live';
  return <RetryFailed failed={failed} app={app} live={live} trans={trans} onRetry={() => onRetryFailed(app)} />;
}

function Heads(props: {
  all: readonly IColumn[];
  query: IQuery;
  trans: TranslationBundle;
  onSort: (part: Partial<IQuery>) => void;
}): React.JSX.Element {
  const { all, query, trans, onSort } = props;
  return (
    <div className="parslab-Row parslab-mod-head" role="row" aria-rowindex={1}>
      {all.map(({ id, label, sort }) => {
        const sorted = sort !== undefined && sort === query.sort;
        const direction = query.descending ? 'descending' : 'ascending';
        return (
          <span
            key={id}
            role="columnheader"
            className={`parslab-col-${id}`}
            aria-sort={sort && (sorted ? direction : 'none')}
          >
            {sort ? (
              <button
                type="button"
                title={trans.__('Sort by %1', label)}
                onClick={() => onSort({ sort, descending: sorted ? !query.descending : sort === 'id' })}
              >
                <span>{label}</span>
              </button>
            ) : (
              label
            )}
          </span>
        );
      })}
    </div>
  );
}

interface IRowsProps extends ITasksBodyProps {
  all: readonly IColumn[];
}

function Rows({ table, all, selected, trans, onOpen }: IRowsProps): React.JSX.Element {
  const { run, total } = table;
  const list = React.useRef<HTMLDivElement>(null);
  const { top, height, onScroll } = useWindow(list);
  const [at, setAt] = React.useState(0);
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const last = Math.min(total - 1, Math.ceil((top + height) / ROW) + SPARE);
  React.useEffect(() => table.setVisibleRows(first, last), [table, first, last]);

  const go = (to: number) => {
    const row = Math.max(0, Math.min(total - 1, to));
    setAt(row);
    scrollTo(list.current, row);
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    const moves: Record<string, number> = {
      ArrowUp: at - 1,
      ArrowDown: at + 1,
      PageUp: at - page,
      PageDown: at + page,
      Home: 0,
      End: total - 1
    };
    const row = table.row(at);
    if (event.key in moves) {
      go(moves[event.key]);
    } else if ((event.key === 'Enter' || event.key === ' ') && row) {
      onOpen(row.id);
    } else {
      return;
    }
    event.preventDefault();
  };
  const open = (row: ITaskRow, index: number) => {
    setAt(index);
    onOpen(row.id);
  };

  const drawn: React.JSX.Element[] = [];
  for (let index = first; index <= last; index++) {
    const row = table.row(index);
    const mark = row !== undefined && row.id === selected;
    drawn.push(
      <div
        key={index}
        id={`parslab-row-${index}`}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={mark}
        className={`parslab-Row${index === at ? ' parslab-mod-current' : ''}`}
        style={{ top: index * ROW }}
        data-task={row?.id}
        data-state={row?.state}
        title={row?.error || undefined}
        onClick={() => row && open(row, index)}
      >
        {all.map(({ id, show }) => (
          <span key={id} role="gridcell" className={`parslab-col-${id}`}>
            {row && run && show(row, run)}
          </span>
        ))}
      </div>
    );
  }
  return (
    <div
      ref={list}
      className="parslab-Rows"
      role="rowgroup"
      tabIndex={0}
      aria-label={trans.__('Rows: arrows move, Enter opens')}
      aria-activedescendant={total ? `parslab-row-${at}` : undefined}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
    >
      <div role="presentation" style={{ height: total * ROW }}>
        {drawn}
      </div>
    </div>
  );
}

/** The visible part of a scrolled element. */
function useWindow(list: React.RefObject<HTMLDivElement | null>): {
  top: number;
  height: number;
  onScroll: (event: React.UIEvent<HTMLDivElement>) => void;
} {
  const [top, setTop] = React.useState(0);
  const [height, setHeight] = React.useState(0);
  React.useEffect(() => {
    const element = list.current;
    if (!element || typeof ResizeObserver === 'undefined') {
      return;
    }
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, [list]);
  return { top, height, onScroll: event => setTop(event.currentTarget.scrollTop) };
}

function scrollTo(list: HTMLDivElement | null, row: number): void {
  if (!list) {
    return;
  }
  const top = row * ROW;
  if (top < list.scrollTop) {
    list.scrollTop = top;
  } else if (top + ROW > list.scrollTop + list.clientHeight) {
    list.scrollTop = top + ROW - list.clientHeight;
  }
}
