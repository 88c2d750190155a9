/** The blocks of the run: their number over time, the state of each block, and the load of their nodes. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count, firstLine, price } from '../../components/format';
import type { IBlockGroup, OpenBlocks } from '../../model/blocks';
import { blockKey, groupByExecutor, totalPrice } from '../../model/blocks';
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

/** Ended blocks that the table lists before the user asks for the others. */
const MAX_ENDED_SHOWN = 5;
/** Live blocks that the table lists; the panel only counts the others. */
const MAX_LIVE_SHOWN = 200;

export function BlocksBody(props: IBlocksBodyProps): React.JSX.Element {
  const { run, trans } = props;
  const groups = groupByExecutor(run.blocks.values());
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
  const { executor, live } = group;
  const [all, setAll] = React.useState(false);
  const title = trans.__('Blocks of %1', executor);
  const cost = totalPrice(live);
  const enabled = run.status === 'live' && run.info?.ended === null;
  const stopped = run.info?.stopped[executor] ?? '';
  const shown = group.ended.filter((row, i) => all || i < MAX_ENDED_SHOWN || open.isOpen(blockKey(row)));
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
          {live.slice(0, MAX_LIVE_SHOWN).map(row)}
          {shown.map(row)}
        </tbody>
      </table>
      {live.length > MAX_LIVE_SHOWN && (
        <p className="parslab-Quiet">{trans.__('and %1 more', count(live.length - MAX_LIVE_SHOWN))}</p>
      )}
      {live.length === 0 && <p className="parslab-Quiet">{trans.__('No blocks.')}</p>}
      {cost !== null && <p className="parslab-Quiet">{trans.__('These blocks cost %1 per hour.', price(cost))}</p>}
      {(all || group.ended.length > shown.length) && (
        <button type="button" className="parslab-Button parslab-Blocks-more" onClick={() => setAll(!all)}>
          {all ? trans.__('Show fewer') : trans.__('Show all %1 that have ended', group.ended.length)}
        </button>
      )}
    </section>
  );
}

/** Buttons for one block less or more. They count from the last request, because a block takes a while to start. */
function Stepper(props: {
  blocks: number;
  enabled: boolean;
  /** Why the executor gets no more blocks; empty otherwise. */
  stopped: string;
  executor: string;
  trans: TranslationBundle;
  onScale: (blocks: number) => void;
}): React.JSX.Element {
  const { blocks, enabled, stopped, executor, trans, onScale } = props;
  const [wanted, setWanted] = React.useState(blocks);
  React.useEffect(() => setWanted(blocks), [blocks]);
  const request = (to: number) => {
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
        onClick={() => request(wanted - 1)}
      >
        −
      </button>
      <output aria-label={trans.__('Blocks that run or were requested')}>{blocks}</output>
      <button
        type="button"
        disabled={!enabled || stopped !== ''}
        aria-label={more}
        title={stopped || more}
        onClick={() => request(wanted + 1)}
      >
        +
      </button>
    </div>
  );
}
