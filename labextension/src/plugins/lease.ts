/** Adds the commands about how long a run stays, and about going on with it after a restart of the kernel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { leases } from '../components/lease';
import { attach } from '../connection/attach';
import { tell } from '../tell';
import { IRuns } from '../tokens';

export const leasePlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:lease',
  description: 'Says how long the run outlives its notebook, and goes on with it in a new kernel.',
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
        title: trans.__('When the notebook leaves, its run'),
        items: all.map(({ label }) => label),
        current: all.findIndex(({ seconds }) => seconds === runs.current?.info?.linger),
        okLabel: trans.__('Keep')
      });
      return all.find(({ label }) => answer.button.accept && label === answer.value)?.seconds;
    };
    app.commands.addCommand(Commands.keepRun, {
      label: trans.__('Keep the Run After its Notebook…'),
      describedBy: { args: { type: 'object', properties: { seconds: { type: 'number' } } } },
      isEnabled: () => runs.current?.status === 'live',
      execute: async args => {
        const seconds = typeof args.seconds === 'number' ? args.seconds : await chosen();
        if (seconds !== undefined) {
          await tell(runs.current?.keep(seconds));
        }
      }
    });
    app.commands.addCommand(Commands.attachRun, {
      label: trans.__('Go on with the Run after a Restart'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => (runs.current?.stays ?? null) !== null,
      execute: async () => {
        const run = runs.current?.info?.run;
        const kernel = tracker.currentWidget?.sessionContext.session?.kernel;
        if (run && kernel) {
          await tell(
            attach(kernel, run).then(() =>
              trans.__('Run %1 goes on: cells that run again take over what they had called.', run)
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
