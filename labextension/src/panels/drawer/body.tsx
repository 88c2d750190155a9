/** All details of one task. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon, copyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { RunClock } from '../../components/format';
import { bytes, duration, runMoment, taskLabel } from '../../components/format';
import { labelOf, sentenceOf, StateMark } from '../../components/states';
import { isFinal, isMemoized, isRetriable } from '../../model/states';
import type { ICommandResult, TaskCommand } from '../../model/results';
import type { ITaskDetail, StateChange } from '../../protocol';
import { Attempts } from './attempts';

/** States from which the user can retry a task. */

export interface IDrawerBodyProps {
  task: number;
  detail: ITaskDetail | null;
  problem: string;
  /** The clock of the run. */
  clock: RunClock;
  /** Whether commands can be sent. */
  live: boolean;
  trans: TranslationBundle;
  /** The results of commands on this task. */
  results: (command: TaskCommand) => ICommandResult | undefined;
  onCommand: (command: TaskCommand) => void;
  onClose: () => void;
  onCancel: (task: number) => void;
  onCancelCell: (cell: string, client: number) => void;
  onShowCell: (cell: string) => void;
  onShow: (task: number) => void;
  onCopy: (text: string) => void;
}

export function DrawerBody(props: IDrawerBodyProps): React.JSX.Element {
  const { task, detail, problem, trans } = props;
  return (
    <>
      <DrawerHead {...props} />
      {problem && (
        <div className="parslab-Banner parslab-mod-error" role="alert">
          {problem}
        </div>
      )}
      {detail && detail.row.id === task && <Details {...props} detail={detail} />}
      {!detail && !problem && <p className="parslab-Quiet">{trans.__('Loading…')}</p>}
    </>
  );
}

function DrawerHead(props: IDrawerBodyProps): React.JSX.Element {
  const { task, detail, live, trans, results, onCommand, onCancel, onClose } = props;
  const state = detail?.row.state;
  const open = state !== undefined && !isFinal(state);
  return (
    <header className="parslab-Drawer-head" data-task={task} data-state={state}>
      {state && <StateMark state={state} />}
      <h2 title={`${detail?.row.app ?? trans.__('Task')} #${taskLabel(task)}`}>
        {detail?.row.app ?? trans.__('Task')} <span>#{taskLabel(task)}</span>
      </h2>
      {open && (
        <button type="button" className="parslab-Button" disabled={!live} onClick={() => onCancel(task)}>
          {trans.__('Cancel task')}
        </button>
      )}
      {state !== undefined && isRetriable(state) && (
        <button
          type="button"
          className="parslab-Button"
          disabled={!live || results('retry')?.text === null}
          title={trans.__(
            'Run the task again with the current definition of its app, and the tasks that failed because of it'
          )}
          onClick={() => onCommand('retry')}
        >
          {trans.__('Retry')}
        </button>
      )}
      <button
        type="button"
        className="parslab-IconButton"
        onClick={onClose}
        aria-label={trans.__('Close task details')}
        title={trans.__('Close task details')}
      >
        <closeIcon.react tag="span" />
      </button>
    </header>
  );
}

type IDetailsProps = IDrawerBodyProps & { detail: ITaskDetail };

function Details(props: IDetailsProps): React.JSX.Element {
  const { detail, trans, onShow } = props;
  const { row } = detail;
  return (
    <div className="parslab-Drawer-body">
      <Result result={props.results('retry')} id="retry" waiting={trans.__('Requesting a retry…')} />
      {row.error && <p className="parslab-Drawer-error">{row.error}</p>}
      <Times {...props} />
      <Attempts attempts={detail.attempts} error={row.error} {...props} />
      <Why {...props} />
      {row.shown && (
        <section>
          <h3>{trans.__('Arguments')}</h3>
          <code className="parslab-Drawer-shown">{row.shown}</code>
        </section>
      )}
      <TextBlock {...props} id="traceback" title={trans.__('Traceback')} text={detail.traceback} />
      <TextBlock {...props} id="stdout" title={trans.__('Output')} text={detail.stdout} />
      <TextBlock {...props} id="stderr" title={trans.__('Error output')} text={detail.stderr} />
      <Tasks title={trans.__('Depends on')} tasks={detail.deps} trans={trans} onShow={onShow} />
      <Tasks title={trans.__('Needed by')} tasks={detail.dependents} trans={trans} onShow={onShow} />
      <Facts {...props} />
    </div>
  );
}

/** The result of a command. The element exists before the text, so that screen readers announce the text. */
function Result(props: {
  result: ICommandResult | undefined;
  id: TaskCommand;
  waiting: string;
}): React.JSX.Element {
  const { result, id, waiting } = props;
  return (
    <p className="parslab-Result" role="status" data-result={id} data-failed={result?.failed ?? false}>
      {result && (result.text ?? waiting)}
    </p>
  );
}

/** A button that explains why the task ran, or which task computed its result. */
function Why({ detail, live, trans, results, onCommand }: IDetailsProps): React.JSX.Element {
  const result = results('explain');
  const { state } = detail.row;
  const question = isMemoized(state)
    ? trans.__('Why did this not run?')
    : isFinal(state)
      ? trans.__('Why did this run?')
      : trans.__('Why does this run?');
  return (
    <section className="parslab-Why">
      {!result?.text && (
        <button
          type="button"
          className="parslab-Link"
          disabled={!live || result !== undefined}
          onClick={() => onCommand('explain')}
        >
          {question}
        </button>
      )}
      <Result result={result} id="explain" waiting="" />
    </section>
  );
}

/** The states of the task so far, each with its start and its duration. */
function Times({ detail, clock, live, trans }: IDetailsProps): React.JSX.Element {
  const { times } = detail;
  return (
    <table className="parslab-Times" aria-label={trans.__('States and times')}>
      <tbody>
        {times.map(([state, entered], i) => {
          const final = isFinal(state);
          const left = i + 1 < times.length ? times[i + 1][1] : live ? clock.now : null;
          return (
            <tr key={i} data-state={state}>
              <td>
                <StateMark state={state} />
              </td>
              <th scope="row" title={sentenceOf(state, trans)}>
                {labelOf(state, trans)}
              </th>
              <td className="parslab-Times-number">{final || left === null ? '' : duration(left - entered)}</td>
              <td className="parslab-Times-number">{runMoment(entered, clock)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

interface ITextBlockProps extends IDetailsProps {
  id: string;
  title: string;
  text: string;
}

function TextBlock({ id, title, text, trans, onCopy }: ITextBlockProps): React.JSX.Element | null {
  if (!text) {
    return null;
  }
  const copy = trans.__('Copy: %1', title);
  return (
    <section>
      <h3>
        {title}
        <button
          type="button"
          className="parslab-IconButton"
          onClick={() => onCopy(text)}
          aria-label={copy}
          title={copy}
        >
          <copyIcon.react tag="span" />
        </button>
      </h3>
      <pre className="parslab-Text" data-text={id} tabIndex={0} aria-label={title}>
        {text}
      </pre>
    </section>
  );
}

/** Tasks that a list shows; it only counts the others. */
const LISTED = 40;

function Tasks(props: {
  title: string;
  tasks: readonly StateChange[];
  trans: TranslationBundle;
  onShow: (task: number) => void;
}): React.JSX.Element | null {
  const { title, tasks, trans, onShow } = props;
  if (tasks.length === 0) {
    return null;
  }
  return (
    <section>
      <h3>{title}</h3>
      <ul className="parslab-TaskList" aria-label={title}>
        {tasks.slice(0, LISTED).map(([id, state]) => (
          <li key={id}>
            <button
              type="button"
              aria-label={trans.__('Task %1, %2', taskLabel(id), labelOf(state, trans).toLowerCase())}
              onClick={() => onShow(id)}
            >
              <StateMark state={state} />
              {taskLabel(id)}
            </button>
          </li>
        ))}
        {tasks.length > LISTED && (
          <li className="parslab-Quiet">{trans.__('and %1 more', tasks.length - LISTED)}</li>
        )}
      </ul>
    </section>
  );
}

function Facts(props: IDetailsProps): React.JSX.Element {
  const { detail, trans } = props;
  const { row } = detail;
  const facts: [string, React.ReactNode][] = [
    [trans.__('Cell'), row.cell && <Cell {...props} />],
    [trans.__('Executor'), row.executor],
    [trans.__('Worker'), row.worker],
    [trans.__('Host'), detail.host],
    [trans.__('Process id'), detail.pid],
    [trans.__('Nodes'), detail.nodes.replaceAll(',', ', ')],
    [trans.__('Cores'), detail.cores.replaceAll(',', ', ')],
    [trans.__('Launch'), detail.launch && <code>{detail.launch}</code>],
    [trans.__('Attempt'), row.attempt > 0 ? row.attempt + 1 : ''],
    [trans.__('CPU time'), detail.cpu === null ? '' : duration(detail.cpu)],
    [trans.__('Peak memory'), detail.memory === null ? '' : bytes(detail.memory)],
    [trans.__('Read'), detail.read ? bytes(detail.read) : ''],
    [trans.__('Written'), detail.written ? bytes(detail.written) : '']
  ];
  return (
    <dl className="parslab-Facts">
      {facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </React.Fragment>
        ))}
    </dl>
  );
}

function Cell({ detail, live, trans, onCancelCell, onShowCell }: IDetailsProps): React.JSX.Element {
  const { cell } = detail.row;
  const label = trans.__('Cancel the tasks of %1', cell);
  return (
    <>
      <button
        type="button"
        className="parslab-Link"
        title={trans.__('Show this cell in the notebook')}
        onClick={() => onShowCell(cell)}
      >
        {cell}
      </button>{' '}
      <button
        type="button"
        className="parslab-Link"
        disabled={!live}
        title={trans.__('Cancel all tasks that this cell has called and that have not ended')}
        onClick={() => onCancelCell(cell, detail.client)}
      >
        {label}
      </button>
    </>
  );
}
