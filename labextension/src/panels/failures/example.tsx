/** One task of a group of failures: its error, the line of the cell where it failed, its arguments and its traceback. */
import * as React from 'react';

import { taskLabel } from '../../components/format';
import type { IGroupProps } from './body';

export function Example({ group, open, trans, actions }: IGroupProps): React.JSX.Element | null {
  const { example } = group;
  if (example === null) {
    return null;
  }
  const detail = open.example(group);
  const problem = open.problem(group.number);
  return (
    <>
      <p className="parslab-Failure-example">
        {trans.__('For example')}{' '}
        <button type="button" className="parslab-Link" onClick={() => actions.showTask(example)}>
          {trans.__('task %1', taskLabel(example))}
        </button>
        {detail?.row.cell && trans.__(', called by %1', detail.row.cell)}
      </p>
      {problem && (
        <div className="parslab-Banner parslab-mod-error" role="alert">
          {problem}
        </div>
      )}
      {!detail && !problem && <p className="parslab-Quiet">{trans.__('Loading…')}</p>}
      {detail && (
        <>
          {detail.row.error && <p className="parslab-Failure-error">{detail.row.error}</p>}
          {detail.source && (
            <figure className="parslab-Failure-source">
              <figcaption>{detail.source[0]}</figcaption>
              <code>{detail.source[1]}</code>
            </figure>
          )}
          {detail.row.shown && (
            <section>
              <h3>{trans.__('Arguments')}</h3>
              <code className="parslab-Drawer-shown">{detail.row.shown}</code>
            </section>
          )}
          {detail.traceback && (
            <section>
              <h3>{trans.__('Traceback')}</h3>
              <pre className="parslab-Text" data-text="traceback" tabIndex={0} aria-label={trans.__('Traceback')}>
                {detail.traceback}
              </pre>
            </section>
          )}
        </>
      )}
    </>
  );
}
