/** Adds the task table to the panel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import type { IQuery } from '../model/tasks';
import { ALL, TaskTable } from '../model/tasks';
import { TasksView } from '../panels/tasks';
import { IParslPanel, IRuns } from '../tokens';

const TIMES = { type: 'array', items: { type: 'number' } };
const LIST = { type: 'array', items: { type: 'string' } };

export const tasksPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:tasks',
  description: 'Lists the tasks of the run.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const table = new TaskTable(runs);
    const retryFailed = (name?: string) =>
      void app.commands.execute(Commands.retryFailed, name === undefined ? {} : { app: name });
    const content = new TasksView(runs, table, panel.selection, retryFailed, trans);
    panel.addView({ id: 'tasks', label: trans.__('Tasks'), rank: 30, content });
    app.commands.addCommand(Commands.showTasks, {
      label: trans.__('List the Tasks of the Run'),
      describedBy: {
        args: {
          type: 'object',
          properties: { states: LIST, apps: LIST, cell: { type: 'string' }, workers: LIST, between: TIMES }
        }
      },
      execute: args => {
        const { states, apps, cell, workers, between } = args as Partial<IQuery>;
        panel.open('tasks');
        if (states || apps || cell || workers || between) {
          table.setQuery({
            ...ALL,
            states: states ?? [],
            apps: apps ?? [],
            cell: cell ?? '',
            workers: workers ?? [],
            between: between ?? null
          });
        }
      }
    });
    palette?.addItem({ command: Commands.showTasks, category: trans.__('Parsl') });
  }
};
