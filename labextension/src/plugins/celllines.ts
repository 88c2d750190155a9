/** Shows below each cell how far its tasks are, and adds the commands that lead from a cell to its tasks and back. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { CellNumbers } from '../connection/cells';
import { notify } from '../notify';
import { NotebookLines } from '../panels/cells/notebook';
import { FAILURES } from '../protocol';
import type { IRun } from '../tokens';
import { IRuns } from '../tokens';

/** Most tasks in a page of the task table, and most tasks of a cell that one click retries. */
const PAGE = 1000;
const MOST = 20_000;

export const cellLinesPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:cell-lines',
  description: 'Shows below each cell how far its tasks are.',
  autoStart: true,
  requires: [IRuns, INotebookTracker],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, runs: IRuns, tracker: INotebookTracker, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const numbers = CellNumbers.of(tracker);
    const run = (command: string) => (cell: string) => app.commands.execute(command, { cell });
    const actions = {
      cancel: run(Commands.cancelCell),
      retry: run(Commands.retryCell),
      show: run(Commands.showTasks)
    };
    const follow = (panel: NotebookPanel) => new NotebookLines(panel, runs, numbers, actions, trans);
    tracker.forEach(follow);
    tracker.widgetAdded.connect((_, panel) => void follow(panel));

    const args = { type: 'object', properties: { cell: { type: 'string' } }, required: ['cell'] };
    app.commands.addCommand(Commands.retryCell, {
      label: trans.__('Retry the Failed Tasks of a Cell'),
      describedBy: { args },
      isEnabled: () => ['live', 'waiting'].includes(runs.current?.status ?? ''),
      execute: async ({ cell }) => {
        const current = runs.current;
        if (current && typeof cell === 'string') {
          await notify(failedTasks(current, cell).then(tasks => current.retry(tasks)));
        }
      }
    });
    app.commands.addCommand(Commands.showCell, {
      label: trans.__('Show the Cell of a Task'),
      describedBy: { args },
      execute: async args => {
        const cell = typeof args.cell === 'string' ? args.cell : '';
        const panel = tracker.currentWidget;
        const found = [...(panel ? numbers.names(panel) : [])].find(([, name]) => name === cell)?.[0];
        const index = panel?.content.widgets.findIndex(one => one.model.id === found) ?? -1;
        if (!panel || index < 0) {
          Notification.info(trans.__('%1 is no longer a cell of this notebook.', cell), { autoClose: 3000 });
          return;
        }
        app.shell.activateById(panel.id);
        panel.content.activeCellIndex = index;
        await panel.content.scrollToItem(index, 'auto');
      }
    });
  }
};

async function failedTasks(run: IRun, cell: string): Promise<number[]> {
  const query = { states: [...FAILURES], apps: [], text: '', sort: 'id', descending: false, cell, client: -1 };
  const tasks: number[] = [];
  let total = 1;
  while (tasks.length < Math.min(total, MOST)) {
    const page = await run.page({ ...query, failures: null, offset: tasks.length, limit: PAGE });
    tasks.push(...page.rows.map(row => row.id));
    total = page.rows.length ? page.total : 0;
  }
  return tasks;
}
