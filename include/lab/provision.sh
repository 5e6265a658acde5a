#!/bin/sh
# Makes a Glance node from a bare Debian root that has systemd, openssh-server, sudo, python3 and iproute2.
# Run it as root inside that root (chroot, nspawn, or a line of a Dockerfile). Running it again changes nothing.
#
# ROLLOUT_KEY   public key that may log in as `rollout`, in the form of authorized_keys; may be empty
#
# It sets no address and no host name: those come from whatever runs the node.
set -eu

# Debian's own glance package has this number. Fixed, since all nodes share one image store.
glance_id=64062

getent group glance > /dev/null || groupadd --system --gid "$glance_id" glance
getent passwd glance > /dev/null || useradd --system --uid "$glance_id" --gid glance \
    --home-dir /var/lib/glance --no-create-home --shell /usr/sbin/nologin glance
getent passwd rollout > /dev/null || useradd --create-home --shell /bin/bash rollout

install -d -m 0755 /opt/glance /opt/glance/releases
install -d -m 0755 -o glance -g glance /var/lib/glance /var/lib/glance/staging /var/lib/glance/images

printf 'rollout ALL=(ALL:ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/rollout
chmod 0440 /etc/sudoers.d/rollout

install -d -m 0700 -o rollout -g rollout /home/rollout/.ssh
if [ -n "${ROLLOUT_KEY:-}" ]; then
    printf '%s\n' "$ROLLOUT_KEY" > /home/rollout/.ssh/authorized_keys
    chown rollout:rollout /home/rollout/.ssh/authorized_keys
    chmod 0600 /home/rollout/.ssh/authorized_keys
fi

# One host key, of the node's own. Keys made while the root was built would be the same on every node.
rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key*
cat > /etc/ssh/sshd_config.d/rollout.conf <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers rollout
UseDNS no
MaxStartups 50:30:100
EOF
cat > /etc/systemd/system/ssh-host-key.service <<'EOF'
[Unit]
Description=Make the host key of this node
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
EOF

# Everything of a release lies below `current`: switching the link switches program, paste file and configuration.
cat > /etc/systemd/system/glance-api.service <<'EOF'
[Unit]
Description=Glance API
After=network.target

[Service]
User=glance
Group=glance
WorkingDirectory=/var/lib/glance
ExecStart=/opt/glance/current/bin/glance-api --config-file /opt/glance/current/etc/glance/glance-api.conf
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
EOF

systemctl --quiet enable ssh.service ssh-host-key.service
# Upkeep that a node which lives for hours does not need, and that would disturb a measurement.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service console-getty.service getty.target
