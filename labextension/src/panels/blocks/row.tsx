/** One block in the table: its row, a row with its reason if it has one, and its details while it is open. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretRightIcon, copyIcon, refreshIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { Meter } from '../../components/bars';
import { clock, count, duration, firstLine, price, runMoment } from '../../components/format';
import { BlockMark, blockLabel } from '../../components/states';
import { blockKey, hasDeparted, hasEnded } from '../../model/blocks';
import type { BlockState, IBlockActionRequest, IBlockRow, IManagerRow } from '../../protocol';
import { BLOCK_MEANING, MANAGER_MEANING } from '../../protocol';
import type { IBlocksBodyProps } from './body';

export interface IBlockRowsProps extends IBlocksBodyProps {
  row: IBlockRow;
  /** The kernel's time. */
  now: number;
  /** Whether commands can be sent. */
  enabled: boolean;
}

/** States that need no explanation in the table; the details of the block still show the reason. */
const EXPECTED = ['draining', 'scaled_in'];

/** Columns of the table. */
const COLUMNS = 5;

export function BlockRows(props: IBlockRowsProps): React.JSX.Element {
  const { row, run, now, open, trans } = props;
  const key = blockKey(row);
  const opened = open.isOpen(key);
  const state = shownState(row);
  const id = `parslab-block-${key.replace(/\W/g, '-')}`;
  const Caret = opened ? caretDownIcon : caretRightIcon;
  const meaning =
    state === 'held' ? trans.__(MANAGER_MEANING.held) : trans.__(BLOCK_MEANING[state as BlockState] ?? '');
  return (
    <>
      <tr data-block={key} data-state={state} onClick={() => open.toggle(row)}>
        <td className="parslab-col-block" title={meaning}>
          {/* The handler of the row receives the click. */}
          <button type="button" aria-expanded={opened} aria-controls={opened ? id : undefined}>
            <Caret.react tag="span" className="parslab-Caret" aria-hidden="true" />
            <BlockMark state={state} />
            <b>{row.block}</b>
            <span>{blockLabel(state, trans)}</span>
          </button>
        </td>
        <td className="parslab-col-job" title={row.job}>
          {row.job}
        </td>
        <td className="parslab-col-nodes" title={trans.__('%1 of %2 nodes connected', row.managers, row.nodes)}>
          {hasEnded(row) ? row.nodes : `${row.managers} / ${row.nodes}`}
        </td>
        <td className="parslab-col-workers">
          {row.workers > 0 && (
            <>
              <Meter
                value={row.busy}
                max={row.workers}
                label={trans.__('Workers busy')}
                words={trans.__('%1 of %2', row.busy, row.workers)}
              />
              <span>
                {row.busy} / {row.workers}
              </span>
            </>
          )}
        </td>
        <td className="parslab-col-age" title={trans.__('Since %1', runMoment(row.since, run))}>
          {age(row, now)}
        </td>
      </tr>
      {row.reason && !opened && !EXPECTED.includes(row.state) && (
        <tr className="parslab-Blocks-reason" data-state={state}>
          <td colSpan={COLUMNS} className="parslab-Block-short">
            {firstLine(row.reason)}
          </td>
        </tr>
      )}
      {opened && (
        <tr className="parslab-Blocks-open" id={id} data-state={state}>
          <td colSpan={COLUMNS}>
            <Details {...props} />
          </td>
        </tr>
      )}
    </>
  );
}

/** The state that the panel shows. Only managers have the state `held`, but the user holds and releases blocks. */
function shownState(row: IBlockRow): string {
  return row.held && row.state === 'running' ? 'held' : row.state;
}

/** How long the block has been in its state; for an ended block, how long it ran. */
function age(row: IBlockRow, now: number): string {
  if (row.ended !== null) {
    return row.started === null ? '' : clock(row.ended - row.started);
  }
  return clock(now - row.since);
}

function Details(props: IBlockRowsProps): React.JSX.Element {
  const { row, run, trans } = props;
  const mine = [...run.managers.values()].filter(
    manager => manager.executor === row.executor && manager.block === row.block
  );
  const waited = row.started === null ? null : row.started - row.requested;
  const facts: [string, string][] = [
    [trans.__('Job'), row.job],
    [trans.__('Requested'), runMoment(row.requested, run)],
    [
      trans.__('Started'),
      row.started === null ? '' : trans.__('%1, after %2', runMoment(row.started, run), duration(waited ?? 0))
    ],
    [trans.__('Ended'), row.ended === null ? '' : runMoment(row.ended, run)],
    [trans.__('Price per hour'), row.price === null ? '' : price(row.price)],
    [trans.__('Tasks done'), row.done ? count(row.done) : '']
  ];
  return (
    <div className="parslab-Block">
      {row.reason && <p className="parslab-Block-reason">{row.reason}</p>}
      <Buttons {...props} />
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
      <Departed managers={mine.filter(hasDeparted)} trans={trans} />
      <Output {...props} />
    </div>
  );
}

function Buttons({ row, enabled, trans, actions }: IBlockRowsProps): React.JSX.Element | null {
  if (hasEnded(row)) {
    return null;
  }
  const running = row.state === 'running';
  const all: [IBlockActionRequest['action'], string, string, boolean][] = [
    ['release', trans.__('Release'), trans.__('Send tasks again'), running && row.held],
    ['hold', trans.__('Hold'), trans.__('Send no new tasks until it is released'), running && !row.held],
    ['drain', trans.__('Drain'), trans.__('End it when its current tasks have finished'), running],
    ['cancel', trans.__('Cancel block'), trans.__('End its job now'), true]
  ];
  return (
    <div className="parslab-Block-buttons" role="group" aria-label={trans.__('Block %1', row.block)}>
      {all
        .filter(([, , , fits]) => fits)
        .map(([action, label, title]) => (
          <button
            key={action}
            type="button"
            className="parslab-Button"
            data-action={action}
            title={title}
            disabled={!enabled}
            onClick={() => actions.command(row, action)}
          >
            {label}
          </button>
        ))}
    </div>
  );
}

/** Managers that have left, each with the reason. */
function Departed(props: { managers: IManagerRow[]; trans: TranslationBundle }): React.JSX.Element | null {
  const { managers, trans } = props;
  if (managers.length === 0) {
    return null;
  }
  return (
    <ul className="parslab-Departed" aria-label={trans.__('Managers that have left')}>
      {managers.map(row => (
        <li key={row.manager} data-state={row.state}>
          <BlockMark state={row.state} />
          <span>
            <b>{row.host}</b> {blockLabel(row.state, trans).toLowerCase()}
            {row.reason && `: ${row.reason}`}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Output({ row, open, enabled, trans, actions }: IBlockRowsProps): React.JSX.Element {
  const key = blockKey(row);
  const text = open.output(key);
  const problem = open.problem(key);
  const again = trans.__('Read the output again');
  const parts: [string, string, string, string][] = [
    ['stderr', trans.__('Error output of the job'), text?.stderr ?? '', row.stderr],
    ['stdout', trans.__('Output of the job'), text?.stdout ?? '', row.stdout]
  ];
  const shown = parts.filter(([, , content]) => content);
  return (
    <>
      {problem && <p className="parslab-Quiet">{problem}</p>}
      {!text && !problem && <p className="parslab-Quiet">{trans.__('Loading…')}</p>}
      {text && !problem && shown.length === 0 && (
        <p className="parslab-Quiet">{trans.__('Its job has printed nothing.')}</p>
      )}
      {shown.map(([id, title, content, path]) => (
        <section key={id}>
          <h3 title={path}>
            {title}
            <button
              type="button"
              className="parslab-IconButton"
              aria-label={trans.__('Copy: %1', title)}
              title={trans.__('Copy: %1', title)}
              onClick={() => actions.copy(content)}
            >
              <copyIcon.react tag="span" />
            </button>
          </h3>
          <Last text={content} id={id} title={title} />
        </section>
      ))}
      <button
        type="button"
        className="parslab-Button parslab-Block-again"
        disabled={!enabled}
        onClick={() => open.reload(row)}
      >
        <refreshIcon.react tag="span" aria-hidden="true" /> {again}
      </button>
    </>
  );
}

/** A scrollable text that starts at its end. */
function Last({ text, id, title }: { text: string; id: string; title: string }): React.JSX.Element {
  const place = React.useRef<HTMLPreElement>(null);
  React.useLayoutEffect(() => {
    place.current?.scrollTo?.({ top: place.current.scrollHeight });
  }, [text]);
  return (
    <pre ref={place} className="parslab-Text" data-text={id} tabIndex={0} aria-label={title}>
      {text}
    </pre>
  );
}
