/** The blocks of the run: how they grew with the work, each with its state, and how busy their nodes are. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count, firstLine } from '../../components/format';
import type { IBlockGroup, OpenBlocks } from '../../model/blocks';
import { blockKey, grouped } from '../../model/blocks';
import type { IBlockActionRequest, IBlockRow } from '../../protocol';
import type { IRun } from '../../tokens';
import { Nodes } from './nodes';
import { BlockRows } from './row';
import { Scaling } from './scaling';

export interface IBlocksActions {
  command: (row: IBlockRow, action: IBlockActionRequest['action']) => void;
  scale: (executor: string, blocks: number) => void;
  copy: (text: string) => void;
}

export interface IBlocksBodyProps {
  run: IRun;
  open: OpenBlocks;
  trans: TranslationBundle;
  actions: IBlocksActions;
}

/** Ended blocks that are listed before one asks for the others. */
const LISTED = 5;
/** Other blocks that are drawn; more are only counted. */
const DRAWN = 200;

export function BlocksBody(props: IBlocksBodyProps): React.JSX.Element {
  const { run, trans } = props;
  const groups = grouped(run.blocks.values());
  return (
    <div className="parslab-Blocks">
      <Scaling run={run} trans={trans} />
      {groups.map(group => (
        <Group key={group.executor} {...props} group={group} />
      ))}
      <Nodes managers={[...run.managers.values()]} several={groups.length > 1} trans={trans} />
    </div>
  );
}

function Group(props: IBlocksBodyProps & { group: IBlockGroup }): React.JSX.Element {
  const { run, open, trans, actions, group } = props;
  const { executor, live, over } = group;
  const [all, setAll] = React.useState(false);
  const title = trans.__('Blocks of %1', executor);
  const enabled = run.status === 'live' && run.info?.ended === null;
  const stopped = run.info?.stopped[executor] ?? '';
  const ended = over.filter((row, i) => all || i < LISTED || open.isOpen(blockKey(row)));
  const row = (block: IBlockRow) => (
    <BlockRows key={block.block} {...props} row={block} now={run.now} enabled={enabled} />
  );
  return (
    <section data-executor={executor}>
      <div className="parslab-Blocks-head">
        <h3>{title}</h3>
        <Stepper
          blocks={live.length}
          enabled={enabled}
          stopped={stopped}
          executor={executor}
          trans={trans}
          onScale={blocks => actions.scale(executor, blocks)}
        />
      </div>
      {stopped && <p className="parslab-Blocks-stopped">{trans.__('Stopped: %1', firstLine(stopped))}</p>}
      <table className="parslab-BlockTable" aria-label={title}>
        <thead>
          <tr>
            <th scope="col" className="parslab-col-block">
              {trans.__('Block')}
            </th>
            <th scope="col" className="parslab-col-job">
              {trans.__('Job')}
            </th>
            <th scope="col" className="parslab-col-nodes">
              {trans.__('Nodes')}
            </th>
            <th scope="col" className="parslab-col-workers" title={trans.__('Busy workers')}>
              {trans.__('Busy')}
            </th>
            <th scope="col" className="parslab-col-age">
              {trans.__('For')}
            </th>
          </tr>
        </thead>
        <tbody>
          {live.slice(0, DRAWN).map(row)}
          {ended.map(row)}
        </tbody>
      </table>
      {live.length > DRAWN && (
        <p className="parslab-Quiet">{trans.__('and %1 more', count(live.length - DRAWN))}</p>
      )}
      {live.length === 0 && <p className="parslab-Quiet">{trans.__('No blocks.')}</p>}
      {(all || over.length > ended.length) && (
        <button type="button" className="parslab-Button parslab-Blocks-more" onClick={() => setAll(!all)}>
          {all ? trans.__('Show fewer') : trans.__('Show all %1 that have ended', over.length)}
        </button>
      )}
    </section>
  );
}

/** One block less, one more: of what was asked for last, since blocks take a while to come. */
function Stepper(props: {
  blocks: number;
  enabled: boolean;
  /** Why it gets no more blocks; empty while it may. */
  stopped: string;
  executor: string;
  trans: TranslationBundle;
  onScale: (blocks: number) => void;
}): React.JSX.Element {
  const { blocks, enabled, stopped, executor, trans, onScale } = props;
  const [wanted, setWanted] = React.useState(blocks);
  React.useEffect(() => setWanted(blocks), [blocks]);
  const ask = (to: number) => {
    setWanted(to);
    onScale(to);
  };
  const less = trans.__('One block less for %1', executor);
  const more = trans.__('One block more for %1', executor);
  return (
    <div className="parslab-Stepper">
      <button
        type="button"
        disabled={!enabled || wanted === 0 || stopped !== ''}
        aria-label={less}
        title={less}
        onClick={() => ask(wanted - 1)}
      >
        −
      </button>
      <output aria-label={trans.__('Blocks that run or were requested')}>{blocks}</output>
      <button
        type="button"
        disabled={!enabled || stopped !== ''}
        aria-label={more}
        title={stopped || more}
        onClick={() => ask(wanted + 1)}
      >
        +
      </button>
    </div>
  );
}
