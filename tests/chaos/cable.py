"""Hosts of their own, in network namespaces, and a cable between them that is pulled: nobody is told, and nothing arrives."""

import os

from box import Skip, execute

import hosts_test
from faults import load, scenario
from fleet import LEASE, Programs
from stores import Redis

FAR = "w3"


class HubRedis(Redis):
    """On the host that is the hub."""

    bind = "0.0.0.0"

    def __init__(self, directory, network):
        super().__init__(directory)
        self.hub = network["hub"]
        self.url = f"redis://{hosts_test.BROKER}:{self.port}?timeout=2s"
        self.execute = lambda words, timeout: execute(self.hub.inside(words), timeout=timeout)

    def words(self):
        return self.hub.inside(super().words())


class Hosts(Programs):
    """One worker is far away, all other programs run on the hub."""

    def __init__(self, context, network, url):
        super().__init__(context.options.build, context.directory, url)
        self.network = network

    def command(self, words, name=None):
        host = self.network["far" if name == FAR else "hub"]
        return host.inside([self.stem, *words]), self.env


class Ended:
    def __init__(self, network):
        self.close = network.end


@scenario("network: cable pulled", stores=("redis",))
def pull_cable(context):
    if os.geteuid() != 0:
        raise Skip("hosts of their own take root")
    try:
        network = hosts_test.Network("far")
    except (OSError, TimeoutError) as reason:
        raise Skip(str(reason)) from None
    context.closing(Ended(network))
    store = HubRedis(context.directory, network)
    trial = context.trial(store, programs=Hosts(context, network, store.url))

    def fault(_):
        one = trial.disturb("a cable that is pulled", [FAR])
        network.cut("far")
        trial.sick([FAR], says="cannot reach its broker")
        trial.away(LEASE * 1.5 * trial.chance.random(), [FAR])
        for name in trial.workers:
            if name != FAR and (said := trial.programs.health(name)):
                trial.problems.append(f"{name}, whose cable was not pulled, says {said}")
        network.heal("far")
        trial.recovered(one)
    load(trial, fault)
