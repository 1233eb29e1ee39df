"""Throw-away servers: a PostgreSQL and a Kafka, gone when the demo ends.

Both are children of the demo, in process groups of their own, so that Ctrl-C
reaches the demo alone, which then ends them in order.  If the demo itself is
killed, they end too: PostgreSQL gets a signal when its parent dies, the brokers
exit when their standard input ends.
"""
import os
import pwd
import signal
import subprocess
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def server_account():
    """PostgreSQL refuses to run as root: who runs it then.  None: ourselves."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("EVPUB_TEST_USER", "postgres")
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise RuntimeError(f"there is no user {name} to run PostgreSQL as: "
                           "set EVPUB_TEST_USER") from None


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} within {seconds} s")
        time.sleep(0.02)


class Postgres:
    """A cluster with evpub preloaded, reachable through a socket only."""

    def __init__(self, directory, settings):
        pg_config = os.environ.get("PG_CONFIG") or "pg_config"
        self.bindir = subprocess.check_output(
            [pg_config, "--bindir"], text=True).strip()
        self.directory = directory
        self.data = os.path.join(directory, "pgdata")
        self.log = os.path.join(directory, "postgres.log")
        self.settings = settings
        self.process = None
        self.environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith("PG") and name != "LC_ALL"}
        self.environment.update(PGHOST=directory, PGPORT="5432",
                                PGUSER="postgres", PGDATABASE="postgres",
                                PGCONNECT_TIMEOUT="10", LC_ALL="C.UTF-8")
        account = server_account()
        self.prefix = ["setpriv", "--pdeathsig", "INT"]
        if account:
            os.chown(directory, account.pw_uid, account.pw_gid)
            self.prefix += ["--reuid", str(account.pw_uid),
                            "--regid", str(account.pw_gid), "--init-groups"]

    def _server_command(self, program, *arguments):
        return self.prefix + ["--", os.path.join(self.bindir, program), *arguments]

    def _init(self):
        initdb = subprocess.Popen(
            self._server_command("initdb", "-D", self.data, "-U", "postgres",
                                 "-A", "trust", "-E", "UTF8", "--no-sync"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
            env=self.environment, start_new_session=True)
        try:
            output, _ = initdb.communicate()
        except BaseException:
            # its servers, too; all are gone when nobody holds the pipe
            os.killpg(initdb.pid, signal.SIGKILL)
            initdb.communicate()
            raise
        if initdb.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{output}")
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            for name, value in self.settings.items():
                conf.write(f"{name} = '{value}'\n")

    def start(self):
        self._init()
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self._server_command("postgres", "-D", self.data,
                                     "-k", self.directory,
                                     "-c", "listen_addresses="),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self.environment, start_new_session=True)
        wait_until(self._ready, 60, "PostgreSQL does not accept connections")

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError("PostgreSQL did not start")
        return subprocess.run(
            [os.path.join(self.bindir, "pg_isready"), "-q"],
            env=self.environment).returncode == 0

    def version(self):
        return subprocess.check_output(
            [os.path.join(self.bindir, "postgres"), "-V"], text=True).strip()

    def stop(self):
        """A fast shutdown; an immediate one if that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()

    def log_tail(self, lines=25):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])


class Session:
    """One psql, one session; several of them work at the same time."""

    DONE = "-- evpub demo: done --"

    def __init__(self, postgres, name):
        self.name = name
        self.process = subprocess.Popen(
            [os.path.join(postgres.bindir, "psql"), "-XAtq", "-F", " | ",
             "-v", "ON_ERROR_STOP=1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=postgres.environment,
            start_new_session=True)

    def send(self, sql):
        self.process.stdin.write(f"{sql}\n\\echo {self.DONE}\n")
        self.process.stdin.flush()

    def wait(self):
        """The lines that the last statements gave."""
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == self.DONE:
                return lines
            lines.append(line.rstrip("\n"))
        raise RuntimeError("psql ended: " + "\n".join(lines))

    def run(self, sql):
        self.send(sql)
        return self.wait()

    def value(self, sql):
        return self.run(sql + ";")[0]

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass                # psql has ended already
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Broker:
    """librdkafka's mock cluster, or a real Kafka from test/kafka."""

    def __init__(self, real, topic, partitions):
        if real:
            self.description = "a real Kafka"
            command = [f"{TREE}/test/kafka/broker", f"num.partitions={partitions}"]
        else:
            self.description = "librdkafka's mock of a Kafka"
            command = [f"{TREE}/test/mockbroker/evpub-mockbroker",
                       "--topic", f"{topic}:{partitions}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True)

    def wait_ready(self):
        line = self.process.stdout.readline().split()
        if not line:
            raise RuntimeError("the broker did not start")
        self.bootstrap = line[-1]

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()
