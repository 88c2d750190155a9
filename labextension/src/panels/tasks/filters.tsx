/** The filters of the task table: a text, states and an app. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { clock } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import { STATES } from '../../model/states';
import type { IQuery } from '../../model/tasks';
import type { IOverview } from '../../protocol';

/** Milliseconds between the last key and the request. */
const TYPING = 250;

export interface IFiltersProps {
  query: IQuery;
  overview: IOverview | null;
  /** When the run began, in seconds since the epoch. */
  origin: number;
  trans: TranslationBundle;
  onChange: (part: Partial<IQuery>) => void;
}

export function Filters({ query, overview, origin, trans, onChange }: IFiltersProps): React.JSX.Element {
  const counts = overview?.counts ?? {};
  const apps = Object.keys(overview?.apps ?? {});
  const states = STATES.filter(state => counts[state] || query.states.includes(state));
  const toggle = (state: string) => {
    const chosen = query.states.includes(state);
    onChange({ states: chosen ? query.states.filter(other => other !== state) : [...query.states, state] });
  };
  return (
    <div className="parslab-Filters" role="search">
      <Words text={query.text} trans={trans} onChange={text => onChange({ text })} />
      <select
        aria-label={trans.__('App')}
        value={query.apps[0] ?? ''}
        onChange={event => onChange({ apps: event.target.value ? [event.target.value] : [] })}
      >
        <option value="">{trans.__('All apps')}</option>
        {[...new Set([...apps, ...query.apps])].map(app => (
          <option key={app} value={app}>
            {app}
          </option>
        ))}
      </select>
      {query.cell && (
        <button
          type="button"
          className="parslab-Filters-cell"
          title={trans.__('Show the tasks of all cells')}
          onClick={() => onChange({ cell: '' })}
        >
          {query.cell} <span aria-hidden="true">×</span>
        </button>
      )}
      {query.between && (
        <button
          type="button"
          className="parslab-Filters-between"
          aria-label={trans.__('Show tasks of all times and workers')}
          title={query.workers.join(', ')}
          onClick={() => onChange({ between: null, workers: [] })}
        >
          {times(query, origin, trans)} <span aria-hidden="true">×</span>
        </button>
      )}
      <div className="parslab-Filters-states" role="group" aria-label={trans.__('States')}>
        {states.map(state => (
          <button
            key={state}
            type="button"
            data-state={state}
            aria-pressed={query.states.includes(state)}
            aria-label={labelOf(state, trans)}
            title={labelOf(state, trans)}
            onClick={() => toggle(state)}
          >
            <StateMark state={state} />
          </button>
        ))}
      </div>
    </div>
  );
}

/** The part of the time, and the workers, that the timeline has chosen. */
function times({ between, workers }: IQuery, origin: number, trans: TranslationBundle): string {
  const [since, until] = between!.map(time => clock(time - origin));
  const where = trans._n('1 worker', '%1 workers', workers.length);
  return trans.__('Ran from %1 to %2, %3', since, until, where);
}

/** A text field that reports its text after a pause in typing. */
function Words(props: {
  text: string;
  trans: TranslationBundle;
  onChange: (text: string) => void;
}): React.JSX.Element {
  const { text, trans, onChange } = props;
  const [typed, setTyped] = React.useState(text);
  const timer = React.useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  React.useEffect(() => setTyped(text), [text]);
  React.useEffect(() => () => clearTimeout(timer.current), []);
  const type = (value: string) => {
    setTyped(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onChange(value), TYPING);
  };
  return (
    <input
      type="search"
      value={typed}
      placeholder={trans.__('Filter tasks')}
      aria-label={trans.__('Filter tasks')}
      onChange={event => type(event.target.value)}
    />
  );
}
