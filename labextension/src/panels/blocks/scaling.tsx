/** Running blocks, workers and waiting tasks over time: three step charts on one time axis. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Steps } from '../../components/bars';
import { count, span } from '../../components/format';
import type { ScalePoint } from '../../protocol';
import type { IRun } from '../../tokens';

/** Fewest seconds that the charts show. */
const MIN_SPAN = 60;

export function Scaling({ run, trans }: { run: IRun; trans: TranslationBundle }): React.JSX.Element | null {
  const { scaling, overview } = run;
  if (!overview || scaling.length === 0) {
    return null;
  }
  const to = Math.max(run.status === 'live' ? run.now : overview.now, scaling[scaling.length - 1][0]);
  const from = Math.min(scaling[0][0], to - MIN_SPAN);
  const lines: [string, string, (point: ScalePoint) => number][] = [
    ['blocks', trans.__('Blocks running'), point => point[1]],
    ['workers', trans.__('Workers'), point => point[2]],
    ['waiting', trans.__('Tasks waiting'), point => point[3]]
  ];
  return (
    <section>
      <div className="parslab-Scaling" role="group" aria-label={trans.__('Scaling')}>
        {lines.map(([id, label, read]) => {
          const points = scaling.map(point => [point[0], read(point)] as const);
          const now = points[points.length - 1][1];
          const most = Math.max(...points.map(([, value]) => value));
          const words = trans.__('%1: %2 now, %3 at most', label, count(now), count(most));
          return (
            <div key={id} className="parslab-Scaling-line" data-line={id} title={words}>
              <span className="parslab-Scaling-label">{label}</span>
              <output>{count(now)}</output>
              <Steps points={points} from={from} to={to} label={words} />
            </div>
          );
        })}
        <div className="parslab-Scaling-axis">
          <span>{trans.__('%1 ago', span(to - from))}</span>
          <span>{trans.__('now')}</span>
        </div>
      </div>
    </section>
  );
}
