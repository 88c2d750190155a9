/** The load of the nodes: each manager has one bar for its cores and one for its memory. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Meter } from '../../components/bars';
import { bytes, count } from '../../components/format';
import { BlockMark, blockLabel } from '../../components/states';
import { connectedManagers } from '../../model/blocks';
import type { IManagerRow } from '../../protocol';

/** Nodes that the panel draws; it only counts the others. */
const MAX_DRAWN = 48;

export function Nodes(props: {
  managers: readonly IManagerRow[];
  /** Whether the run has several executors, so that a block needs the name of its executor. */
  several: boolean;
  trans: TranslationBundle;
}): React.JSX.Element | null {
  const { managers, several, trans } = props;
  const connected = connectedManagers(managers);
  if (connected.length === 0) {
    return null;
  }
  return (
    <section>
      <h3>{trans.__('Nodes')}</h3>
      <ul className="parslab-Nodes" aria-label={trans.__('Nodes')}>
        {connected.slice(0, MAX_DRAWN).map(row => (
          <Node key={row.manager} row={row} several={several} trans={trans} />
        ))}
      </ul>
      {connected.length > MAX_DRAWN && (
        <p className="parslab-Quiet">{trans.__('and %1 more', count(connected.length - MAX_DRAWN))}</p>
      )}
    </section>
  );
}

interface INodeProps {
  row: IManagerRow;
  several: boolean;
  trans: TranslationBundle;
}

function Node({ row, several, trans }: INodeProps): React.JSX.Element {
  const place = several ? trans.__('%1, block %2', row.executor, row.block) : trans.__('block %1', row.block);
  const load = row.load === null ? '' : trans.__('load %1', row.load.toFixed(1));
  const facts = [
    `${row.host}, ${place}`,
    trans.__('manager %1, pid %2', row.manager, row.pid),
    blockLabel(row.state, trans),
    trans.__('%1 cores', row.cores),
    load,
    row.reason
  ];
  return (
    <li data-manager={row.manager} data-state={row.state} title={facts.filter(fact => fact).join('\n')}>
      <div className="parslab-Nodes-head">
        <span role="img" aria-label={blockLabel(row.state, trans)}>
          <BlockMark state={row.state} />
        </span>
        <b>{row.host}</b>
        <span>{place}</span>
        <span className="parslab-Nodes-workers">{trans.__('%1 of %2 busy', row.busy, row.workers)}</span>
      </div>
      {row.cpu === null || row.used === null ? (
        <p className="parslab-Quiet">{trans.__('Not measured yet')}</p>
      ) : (
        <div className="parslab-Nodes-bars">
          <span>{trans.__('CPU')}</span>
          <Meter
            value={row.cpu}
            max={100}
            label={trans.__('CPU of %1', row.host)}
            words={`${Math.round(row.cpu)} %`}
          />
          <span data-figure="cpu">{Math.round(row.cpu)} %</span>
          <span>{trans.__('Memory')}</span>
          <Meter
            value={row.used}
            max={row.memory || row.used}
            label={trans.__('Memory of %1', row.host)}
            words={memory(row)}
            scarce
          />
          <span data-figure="memory">{memory(row)}</span>
        </div>
      )}
    </li>
  );
}

function memory({ used, memory: all }: IManagerRow): string {
  return all ? `${bytes(used ?? 0)} / ${bytes(all)}` : bytes(used ?? 0);
}
