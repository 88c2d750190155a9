"""The style of Parsl's first tutorial: threads, python and bash apps, files, futures."""

import os

import parsl
from parsl.app.app import bash_app, python_app
from parsl.configs.local_threads import config
from parsl.data_provider.files import File

parsl.load(config)


@python_app
def hello():
    return "Hello World!"


@bash_app
def echo_hello(stdout="echo-hello.stdout", stderr="echo-hello.stderr"):
    return 'echo "Hello World!"'


@bash_app
def cat(inputs=[], outputs=[]):
    return f"cat {' '.join(i.filepath for i in inputs)} > {outputs[0]}"


@bash_app
def numbers(stdout=parsl.AUTO_LOGNAME, stderr=parsl.AUTO_LOGNAME):
    return "for i in 1 2 3; do echo $i; done"


@python_app
def total(inputs=()):
    with open(inputs[0]) as file:
        return sum(int(line) for line in file)


@python_app
def double(x):
    return 2 * x


app_future = hello()
assert app_future.result() == "Hello World!" and app_future.done()
assert app_future.task_status() == "exec_done"

future = echo_hello()
assert future.result() == 0
with open("echo-hello.stdout") as file:
    assert file.read() == "Hello World!\n"
assert future.stdout == "echo-hello.stdout"

for n in range(3):
    with open(f"part-{n}.txt", "w") as file:
        file.write(f"{n}\n")
parts = [File(os.path.join(os.getcwd(), f"part-{n}.txt")) for n in range(3)]
joined = cat(inputs=parts, outputs=[File(os.path.join(os.getcwd(), "all.txt"))])
assert total(inputs=[joined.outputs[0]]).result() == 3
assert os.path.basename(joined.outputs[0].result().filepath) == "all.txt"

listed = numbers()
assert listed.result() == 0
with open(listed.stdout) as file:
    assert file.read() == "1\n2\n3\n"

assert [f.result() for f in [double(i) for i in range(4)]] == [0, 2, 4, 6]
assert double(double(double(5))).result() == 40
parsl.wait_for_current_tasks()
parsl.dfk().cleanup()
parsl.clear()
print("done")
