/** Adds the commands that set how long a run outlives its notebook, and that continue a run in another kernel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { leases } from '../components/lease';
import { attach } from '../connection/attach';
import { notify } from '../notify';
import { IRuns } from '../tokens';

export const leasePlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:lease',
  description: 'Sets how long the run outlives its notebook, and continues it in a new kernel.',
  autoStart: true,
  requires: [IRuns, INotebookTracker],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    tracker: INotebookTracker,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const chosen = async () => {
      const all = leases(runs.current?.info?.linger ?? 0, trans);
      const answer = await InputDialog.getItem({
        title: trans.__('When its notebook leaves, the run'),
        items: all.map(({ label }) => label),
        current: all.findIndex(({ seconds }) => seconds === runs.current?.info?.linger),
        okLabel: trans.__('Set')
      });
      return all.find(({ label }) => answer.button.accept && label === answer.value)?.seconds;
    };
    app.commands.addCommand(Commands.keepRun, {
      label: trans.__('Set How Long the Run Outlives Its Notebook…'),
      describedBy: { args: { type: 'object', properties: { seconds: { type: 'number' } } } },
      isEnabled: () => runs.current?.status === 'live',
      execute: async args => {
        const seconds = typeof args.seconds === 'number' ? args.seconds : await chosen();
        if (seconds !== undefined) {
          await notify(runs.current?.keep(seconds));
        }
      }
    });
    app.commands.addCommand(Commands.attachRun, {
      label: trans.__('Continue the Run of This Notebook'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => Boolean(runs.current?.resumable),
      execute: async () => {
        const run = runs.current?.resumable;
        const context = tracker.currentWidget?.sessionContext;
        if (run && context) {
          await notify(
            attach(context, run).then(() =>
              trans.__('Run %1 continues. Cells that you run again adopt the tasks that they called before.', run)
            )
          );
        }
      }
    });
    const category = trans.__('Parsl');
    palette?.addItem({ command: Commands.keepRun, category });
    palette?.addItem({ command: Commands.attachRun, category });
  }
};
