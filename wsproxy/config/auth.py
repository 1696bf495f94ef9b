"""The section ``auth``: who may use the proxy at all, and how that is proven."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from wsproxy.config.fields import Duration, FilePath, OneOrMany, Origin, Realm, Text
from wsproxy.config.section import Section, duration
from wsproxy.config.upstreams import SecretText

__all__ = ["Auth", "Ldap", "Lockout", "Method", "MethodType"]

MethodType = Literal["basic", "digest", "bearer", "negotiate", "certificate"]


def _keys(value: object, info: ValidationInfo) -> str:
    """A URL, or the path of a file."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("expected the path of a file, or https://…")
    is_url = value.startswith(("http://", "https://"))
    return value if is_url else str((info.context or Origin()).folder / value)


class Ldap(Section):
    """A directory that knows users, their passwords and groups."""

    url: OneOrMany[Text] = Field(description="ldaps://HOST or ldap://HOST; the first that answers.")
    base: Text = Field(default_factory=str, description="DN below which users are searched for.")
    bind_dn: Text = Field(default_factory=str, description="Service account that searches.")
    bind_password: SecretText | None = Field(default=None, description="Its password.")
    user_filter: Text = Field(default="(uid={user})", description="Finds a user by the name.")
    user_dn: Text | None = Field(
        default=None, description="DN of users with {user} in it, in place of a search."
    )
    group_base: Text | None = Field(
        default=None, description="DN below which groups are; without it, memberOf is read."
    )
    group_filter: Text = Field(default="(member={dn})", description="Finds the groups of a user.")
    group_attribute: Text = Field(default="cn", description="Has the name of a group.")
    ca: FilePath | None = Field(default=None, description="PEM file of authorities to trust.")
    start_tls: StrictBool = Field(default=False, description="TLS on the port of ldap://.")
    allow_plain: StrictBool = Field(
        default=False, description="Passwords may cross a network in clear."
    )
    timeout: Duration = duration("5s", "For one answer, all servers together.")
    pool: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        default=4, description="Connections to a server at most."
    )


class Method(Section):
    """One way to prove who is asking; which keys belong to which type is checked later."""

    type: MethodType = Field(description="Kind of method.")
    users: FilePath | None = Field(
        default=None, description="Users file of basic or digest, as 'wsproxy passwd' writes it."
    )
    ldap: Ldap | None = Field(
        default=None, description="Directory of basic; of negotiate and bearer, for the groups."
    )
    keytab: FilePath | None = Field(default=None, description="Kerberos keys of negotiate.")
    hostname: Text | None = Field(
        default=None, description="The only host whose tickets negotiate takes."
    )
    realms: OneOrMany[Text] = Field(
        default_factory=tuple, description="Kerberos realms whose users are let in."
    )
    jwks: Annotated[str, PlainValidator(_keys), WithJsonSchema({"type": "string"})] | None = Field(
        default=None, description="Keys of bearer: the path of a JWKS file, or its URL."
    )
    issuer: Text | None = Field(default=None, description="Who must have issued tokens.")
    audience: OneOrMany[Text] = Field(
        default_factory=tuple, description="For whom tokens must be, one of these."
    )
    groups_claim: Text = Field(default="groups", description="Claim with the groups, or a path.")
    user_claim: Text = Field(default="sub", description="Claim with the user's name, or a path.")
    algorithms: OneOrMany[Text] = Field(
        default_factory=tuple, description="Signatures that are taken, such as RS256 and ES256."
    )
    user_from: Literal["cn", "email", "dns", "uri"] = Field(
        default="cn", description="What of a certificate names the user."
    )
    groups: dict[Text, OneOrMany[Text]] | None = Field(
        default=None,
        description="Groups and their users, * for anything, in place of a certificate's "
        "organizational units.",
    )


class Lockout(Section):
    """Addresses that guess are not listened to for a while."""

    failures: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(
        default=10, description="Wrong credentials from one address."
    )
    within: Duration = duration("1m", "The time they come within.")
    for_: Duration = Field(
        default=300.0,
        alias="for",
        description="How long the address is locked out.",
        json_schema_extra={"default": "5m"},
    )


class Auth(Section):
    """Who may use the proxy at all."""

    required: StrictBool = Field(
        default=False, description="Ask for credentials; true by default when there are methods."
    )
    realm: Realm = Field(default="wsproxy", description="What the browser's password window shows.")
    methods: tuple[Method, ...] = Field(default=(), description="Offered in this order.")
    lockout: Lockout | None = Field(
        default=None, description="Addresses that guess; off by default."
    )

    @model_validator(mode="before")
    @classmethod
    def _required_with_methods(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("methods") and "required" not in data:
            return {**data, "required": True}
        return data
