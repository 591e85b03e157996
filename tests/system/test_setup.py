"""tool/setup on a machine that systemd runs: what it installs for the tests does not become this machine's services."""

APT = """#!/bin/sh
# As far as a package's scripts are concerned: each starts its service unless the policy says no, and enables it.
case " $* " in
  *" install "*)
    /usr/sbin/policy-rc.d supervisor start; echo "policy $?"
    systemctl --quiet enable supervisor redis-server
    [ ! -e /srv/setup/fails ] ;;
esac
"""
SERVICE = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"


def test_packages_of_the_tests_do_not_start_services_here(box):
    box.run("rm -rf /srv/setup && rm -f /usr/sbin/policy-rc.d")
    box.write("/srv/setup/bin/apt-get", APT, mode=0o755)
    box.write("/srv/setup/bin/dpkg-query", "#!/bin/sh\ncase $* in *supervisor*) ;; *) echo installed ;; esac\n", mode=0o755)
    for unit in ("supervisor", "redis-server"):
        box.write(f"/run/systemd/system/{unit}.service", SERVICE)
    box.run(["systemctl", "daemon-reload"])
    try:
        env = {"PATH": "/srv/setup/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        ran = box.run(["/usr/src/stem/tool/setup"], env=env)
        assert "policy 101" in ran.stderr, ran
        enabled = box.run(["systemctl", "is-enabled", "supervisor", "redis-server"], check=False).lines()
        assert enabled == ["disabled", "enabled"], enabled  # the one that was there before is as it was
        assert not box.exists("/usr/sbin/policy-rc.d")
        box.write("/srv/setup/fails", "")
        assert box.run(["/usr/src/stem/tool/setup"], env=env, check=1).rc == 1
        assert not box.exists("/usr/sbin/policy-rc.d")
        box.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 104\n", mode=0o755)  # somebody's own
        box.run("rm /srv/setup/fails")
        assert "policy 104" in box.run(["/usr/src/stem/tool/setup"], env=env).stderr
        assert box.exists("/usr/sbin/policy-rc.d")
    finally:
        box.run("systemctl --quiet disable supervisor redis-server; rm -rf /srv/setup /usr/sbin/policy-rc.d "
                "/run/systemd/system/supervisor.service /run/systemd/system/redis-server.service; systemctl daemon-reload")
