/** The failed tasks of the run in groups: a line for each kind of error, and one example in each opened group. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretRightIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { count, runMoment } from '../../components/format';
import type { OpenFailures } from '../../model/failures';
import { ordered, OTHER } from '../../model/failures';
import type { IFailureGroupRow } from '../../protocol';
import type { IRun } from '../../tokens';
import { Example } from './example';

export interface IFailuresActions {
  retryGroup: (group: number) => void;
  copyReproducer: (task: number) => void;
  showTask: (task: number) => void;
}

export interface IFailuresBodyProps {
  run: IRun;
  open: OpenFailures;
  trans: TranslationBundle;
  actions: IFailuresActions;
}

export function FailuresBody(props: IFailuresBodyProps): React.JSX.Element {
  const { run, trans } = props;
  const groups = ordered(run.failures.values());
  const failed = groups.reduce((sum, group) => sum + group.tasks, 0);
  const victims = run.overview?.counts.dep_fail ?? 0;
  return (
    <div className="parslab-Failures">
      <p className="parslab-Failures-total" role="status" data-failed={failed}>
        {failed ? total(failed, groups.length, trans) : trans.__('No failed tasks.')}
        {victims > 0 && <span className="parslab-Quiet">{notRun(victims, trans)}</span>}
      </p>
      <ul className="parslab-FailureList" aria-label={trans.__('Groups of failed tasks')}>
        {groups.map(group => (
          <Group key={group.number} {...props} group={group} />
        ))}
      </ul>
    </div>
  );
}

function total(failed: number, groups: number, trans: TranslationBundle): string {
  const tasks = trans._n('1 failed task', '%2 failed tasks', failed, count(failed));
  return trans._n('%2, all of one kind', '%2 of %1 kinds', groups, tasks);
}

function notRun(tasks: number, trans: TranslationBundle): string {
  return trans._n(
    '1 more did not run, because it needs one of these.',
    '%2 more did not run, because they need one of these.',
    tasks,
    count(tasks)
  );
}

export type IGroupProps = IFailuresBodyProps & { group: IFailureGroupRow };

function Group(props: IGroupProps): React.JSX.Element {
  const { group, open, trans } = props;
  const opened = open.isOpen(group.number);
  const id = `parslab-failures-${group.number}`;
  const Caret = opened ? caretDownIcon : caretRightIcon;
  const isOther = group.number === OTHER;
  const kind = isOther ? trans.__('Other errors') : group.kind.split('.').pop() || trans.__('Error');
  return (
    <li data-group={group.number} data-tasks={group.tasks}>
      <button
        type="button"
        className="parslab-Failure-head"
        aria-expanded={opened}
        aria-controls={opened ? id : undefined}
        onClick={() => open.toggle(group.number)}
      >
        <Caret.react tag="span" className="parslab-Caret" aria-hidden="true" />
        <b className="parslab-Failure-kind" title={group.kind}>
          {kind}
        </b>
        <span
          className="parslab-Failure-count"
          aria-label={trans._n('1 task', '%2 tasks', group.tasks, count(group.tasks))}
        >
          {count(group.tasks)}
        </span>
        {group.message && <span className="parslab-Failure-message">{group.message}</span>}
        <Where {...props} />
      </button>
      {opened && (
        <div id={id} className="parslab-Failure-body">
          <Buttons {...props} />
          <Names {...props} />
          <Example {...props} />
        </div>
      )}
    </li>
  );
}

/** When and where, in one line: the names of apps and hosts as long as there are few. */
function Where({ group, run, trans }: IGroupProps): React.JSX.Element {
  const { first, last } = group;
  const start = first === null ? '' : runMoment(first, run);
  const end = last === null ? '' : runMoment(last, run);
  const when = start === end ? start : `${start} – ${end}`;
  const places = [few(group.apps, trans), few(group.hosts, trans)];
  return (
    <span className="parslab-Failure-where">
      {[when, ...places]
        .filter(part => part)
        .map((part, i) => (
          <span key={i}>{part}</span>
        ))}
    </span>
  );
}

/** Names that a line shows; it only counts the others. */
const FEW = 2;

function few(counts: Record<string, number>, trans: TranslationBundle): string {
  const names = byCount(counts).map(([name]) => name);
  const rest = names.length - FEW;
  return rest > 0 ? trans.__('%1 and %2 more', names.slice(0, FEW).join(', '), rest) : names.join(', ');
}

function byCount(counts: Record<string, number>): [string, number][] {
  return Object.entries(counts).sort(([, a], [, b]) => b - a);
}

function Buttons({ group, run, trans, actions }: IGroupProps): React.JSX.Element {
  const live = run.status === 'live';
  const { example } = group;
  const retry = trans._n('Retry 1 task', 'Retry %2 tasks', group.tasks, count(group.tasks));
  return (
    <div className="parslab-Failure-buttons">
      <button
        type="button"
        className="parslab-Button"
        disabled={!live || example === null}
        title={trans.__('Run these tasks again with the current definitions of their apps')}
        onClick={() => actions.retryGroup(group.number)}
      >
        {retry}
      </button>
      {example !== null && (
        <button
          type="button"
          className="parslab-Button"
          disabled={!live}
          title={trans.__('Copy a cell that calls the function with the arguments of the example')}
          onClick={() => actions.copyReproducer(example)}
        >
          {trans.__('Copy as a cell')}
        </button>
      )}
    </div>
  );
}

/** How many tasks of each app, executor and host; a kind with one name says nothing new. */
function Names({ group, trans }: IGroupProps): React.JSX.Element | null {
  const kinds: [string, Record<string, number>][] = [
    [trans.__('Apps'), group.apps],
    [trans.__('Executors'), group.executors],
    [trans.__('Hosts'), group.hosts]
  ];
  const shown = kinds.filter(([, counts]) => Object.keys(counts).length > 1);
  if (shown.length === 0) {
    return null;
  }
  return (
    <dl className="parslab-Facts">
      {shown.map(([label, counts]) => (
        <React.Fragment key={label}>
          <dt>{label}</dt>
          <dd>
            {byCount(counts)
              .map(([name, tasks]) => trans.__('%1 (%2)', name, count(tasks)))
              .join(', ')}
          </dd>
        </React.Fragment>
      ))}
    </dl>
  );
}
