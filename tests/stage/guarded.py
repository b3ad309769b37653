"""A real Kafka with a door for each way in that public streams have, and rights for who comes through one."""

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from brokers.kafka import Kafka
from brokers.server import free_port

from .authority import Authority
from .issuer import AUDIENCE, ISSUER, Issuer

HERE = "127.0.0.1"
VALIDATION = "org.apache.kafka.common.security.oauthbearer"
LOGIN = "org.apache.kafka.common.security.{}LoginModule required"
DOORS = {
    "scram": ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    "scrams": ("SASL_SSL", "SCRAM-SHA-512"),
    "plains": ("SASL_SSL", "PLAIN"),
    "tokens": ("SASL_SSL", "OAUTHBEARER"),
    "tls": ("SSL", ""),
}
#: Whose certificate the door `plains` shows: not the host's.
OTHER_NAME = "other.example"


class Guarded(Kafka):
    """Its doors by name in `doors`, as host:port; `bootstrap` is one for everybody, without login and with all rights.

    `plain`: users of PLAIN and their passwords; SCRAM's are made by `add_user`, and tokens' subjects are users, too.
    """

    def __init__(self, authority: Authority, issuer: Issuer, plain: dict[str, str], reauthenticate_ms: int = 0) -> None:
        super().__init__()
        self.doors = {name: f"{HERE}:{free_port()}" for name in DOORS}
        self.issuer = issuer
        usual = super()._properties()
        more = ",".join(f"{name.upper()}://{address}" for name, address in self.doors.items())
        kinds = ",".join(f"{name.upper()}:{protocol}" for name, (protocol, _) in DOORS.items())
        certificates = {name: authority.sign(OTHER_NAME if name == "plains" else HERE) for name in DOORS}
        users = " ".join(f'user_{user}="{password}"' for user, password in plain.items())
        tokens = "listener.name.tokens.oauthbearer.sasl"
        self.config |= {
            **{name: f"{usual[name]},{more}" for name in ("listeners", "advertised.listeners")},
            "listener.security.protocol.map": f"{usual['listener.security.protocol.map']},{kinds}",
            **{
                f"listener.name.{name}.ssl.keystore.{key}": value
                for name, certificate in certificates.items()
                for key, value in {"type": "PEM", "location": certificate}.items()
            },
            **{f"listener.name.{name}.sasl.enabled.mechanisms": m for name, (_, m) in DOORS.items() if m},
            **{
                f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{LOGIN.format('scram.Scram')};"
                for name in ("scram", "scrams")
            },
            "listener.name.plains.plain.sasl.jaas.config": f"{LOGIN.format('plain.Plain')} {users};",
            f"{tokens}.jaas.config": f"{LOGIN.format('oauthbearer.OAuthBearer')};",
            f"{tokens}.server.callback.handler.class": f"{VALIDATION}.OAuthBearerValidatorCallbackHandler",
            # Kafka 4.1.0 by itself looks at no signature.
            "listener.name.tokens.sasl.oauthbearer.jwt.validator.class": f"{VALIDATION}.BrokerJwtValidator",
            f"{tokens}.oauthbearer.jwks.endpoint.url": issuer.keys.as_uri(),
            f"{tokens}.oauthbearer.expected.audience": AUDIENCE,
            f"{tokens}.oauthbearer.expected.issuer": ISSUER,
            f"{tokens}.oauthbearer.clock.skew.seconds": 0,
            **(
                {"listener.name.tokens.oauthbearer.connections.max.reauth.ms": reauthenticate_ms}
                if reauthenticate_ms
                else {}
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def command(self) -> list[str]:
        java, *rest = super().command()
        return [java, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.issuer.keys.as_uri()}", *rest]

    def add_user(self, name: str, password: str) -> None:
        """One who logs in by SCRAM-SHA-512."""
        admin, info = self.admin(), ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
        made: list[UserScramCredentialAlteration] = [UserScramCredentialUpsertion(name, info, password.encode())]
        for future in admin.alter_user_scram_credentials(made).values():
            future.result(20)

    def allow(self, user: str, topic: str, group: str) -> None:
        """Reading of a topic, in groups that begin so."""
        read, prefixed = AclOperation.READ, ResourcePatternType.PREFIXED
        admin, allowed = self.admin(), AclPermissionType.ALLOW
        rights = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", what, allowed)
            for kind, name, pattern, what in (
                (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, read),
                (ResourceType.TOPIC, topic, prefixed, AclOperation.DESCRIBE),
                (ResourceType.GROUP, group, prefixed, read),
            )
        ]
        for future in admin.create_acls(rights).values():
            future.result(20)
