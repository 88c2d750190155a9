/** Provides the runs of the open notebooks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { KernelAPI } from '@jupyterlab/services';

import { KernelComm } from '../connection/comm';
import { NotebookKernels } from '../connection/kernels';
import { Routes } from '../connection/routes';
import { ServerRelay } from '../connection/server';
import { Runs } from '../model/runs';
import { IRuns } from '../tokens';

export const runsPlugin: JupyterFrontEndPlugin<IRuns> = {
  id: 'parslab:runs',
  description: 'Provides the Parsl runs of the open notebooks.',
  autoStart: true,
  requires: [INotebookTracker],
  provides: IRuns,
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker) => {
    const runs = new Runs();
    const askServer = async (kernel: Kernel.IKernelConnection) =>
      (await KernelAPI.getKernelModel(kernel.id, kernel.serverSettings))?.execution_state;
    new NotebookKernels(tracker, runs, kernel => {
      const server = new ServerRelay(kernel.serverSettings, `kernel=${encodeURIComponent(kernel.id)}`);
      return new Routes(new KernelComm(kernel, askServer), server);
    });
    return runs;
  }
};
