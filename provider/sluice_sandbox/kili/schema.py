"""Kili's GraphQL schema, as far as cloud storage needs it, and how it is asked.

Types and names are those that the vendor's client sends and checks its documents against (kili 26.2.4,
`adapters/kili_api_gateway/*/operations.py`). Two things are there only for that client: its listing of connections
counts integrations with the connections' own filter, hence `projectId` and `integrationId` in `DataIntegrationWhere`;
and half of it still says `lastChecked`. graphql-core is imported here, when the first question comes.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema

BUCKET = """
  allowedPaths: [String!] allowedProjects: [String!] organizationId: ID
  awsAccessPointARN: String awsRoleARN: String awsRoleExternalId: String
  azureConnectionURL: String azureIsUsingServiceCredentials: Boolean azureSASToken: String azureTenantId: String
  gcpBucketName: String includeRootFiles: String internalProcessingAuthorized: String
  s3AccessKey: String s3BucketName: String s3Endpoint: String s3Region: String s3SecretKey: String
  s3SessionToken: String
"""
"""How a bucket is reached, in a type and in an input alike."""

SDL = """
"Items of one page"
scalar PageSize
scalar DateTime

enum DataIntegrationPlatform { AWS Azure GCP CustomS3 }
enum DataIntegrationStatus { CONNECTED DISCONNECTED CHECKING }
enum DataDifferenceType { ADD REMOVE }
enum InputType { IMAGE VIDEO PDF TEXT }

type User { id: ID! email: String! }
type ApiKey { id: ID! expiryDate: DateTime! }
type DataConnectionRef { id: ID! }
type Project { id: ID! title: String! inputType: InputType! dataConnections: [DataConnectionRef!]! }

type DataIntegration {
  id: ID! name: String! platform: DataIntegrationPlatform! status: DataIntegrationStatus!
  {BUCKET}
}

type DataDifferencesSummary { added: Int! removed: Int! total: Int! }

type DataConnection {
  id: ID! projectId: ID! dataIntegrationId: ID! dataIntegration: DataIntegration!
  numberOfAssets: Int! isChecking: Boolean! lastChecked: DateTime
  isApplyingDataDifferences: Boolean!
  lastCheck: DateTime
  dataDifferencesSummary: DataDifferencesSummary
  selectedFolders: [String!] prefix: String include: [String!] exclude: [String!] isJsonProcessingEnabled: Boolean
}

input ApiKeyWhere { key: String userId: ID }
input ProjectWhere { id: ID }
input AssetProjectWhere { id: ID! }
input AssetLabelWhere { typeIn: [String!] }
input AssetIssueWhere { type: String status: String }
input AssetWhere { id: ID project: AssetProjectWhere label: AssetLabelWhere issue: AssetIssueWhere }
input DataIntegrationWhere {
  id: ID name: String platform: DataIntegrationPlatform status: DataIntegrationStatus organizationId: ID
  projectId: ID integrationId: ID
}
input DataIntegrationData {
  name: String platform: DataIntegrationPlatform status: DataIntegrationStatus
  {BUCKET}
}
input DataConnectionsWhere { projectId: ID integrationId: ID }
input DataConnectionIdWhere { id: ID! }
input DataConnectionInput {
  projectId: ID! integrationId: ID! selectedFolders: [String!] prefix: String include: [String!] exclude: [String!]
  isJsonProcessingEnabled: Boolean isChecking: Boolean lastChecked: DateTime
}
input DataConnectionComputeDifferencesPayload { blobPaths: [String!]! warnings: [String!] contentTypes: [String!] }
input ValidateDataDifferencesWhere { connectionId: ID! type: DataDifferenceType! }

type Query {
  viewer: User
  apiKeys(where: ApiKeyWhere!, skip: Int!, first: PageSize!): [ApiKey!]!
  projects(where: ProjectWhere!, skip: Int!, first: PageSize!): [Project!]!
  countAssets(where: AssetWhere!): Int!
  dataIntegrations(where: DataIntegrationWhere!, skip: Int!, first: PageSize!): [DataIntegration!]!
  countDataIntegrations(where: DataIntegrationWhere!): Int!
  dataConnections(where: DataConnectionsWhere!, first: PageSize!, skip: Int!): [DataConnection!]!
  dataConnection(where: DataConnectionIdWhere!): DataConnection
}

type Mutation {
  addDataConnection(data: DataConnectionInput!): DataConnection!
  computeDifferences(where: DataConnectionIdWhere!, data: DataConnectionComputeDifferencesPayload): DataConnection!
  validateDataDifferences(where: ValidateDataDifferencesWhere!, processingParameters: String): DataConnection!
  createDataIntegration(data: DataIntegrationData!): DataIntegration!
  updatePropertiesInDataIntegration(data: DataIntegrationData!, where: DataIntegrationWhere!): DataIntegration!
  deleteDataIntegration(where: DataIntegrationWhere!): ID
}
""".replace("{BUCKET}", BUCKET)

NEWER = ("  isApplyingDataDifferences: Boolean!\n", "  lastCheck: DateTime\n")
"""What a server may lack: nobody outside the vendor knows which servers have which."""


@cache
def schema(*, old: bool) -> GraphQLSchema:
    """The schema, with or without the newer fields. Of the directives only those that every generation of clients can
    read: newer ones may be used in places that the graphql-core of the vendor's client does not know."""
    from graphql import GraphQLIncludeDirective, GraphQLSchema, GraphQLSkipDirective, build_schema

    text = SDL
    for line in NEWER if old else ():
        text = text.replace(line, "")
    schema = build_schema(text)
    directives = (GraphQLIncludeDirective, GraphQLSkipDirective)
    return GraphQLSchema(
        schema.query_type,
        schema.mutation_type,
        types=schema.type_map.values(),
        directives=directives,
    )


def refuse(code: str, message: str) -> GraphQLError:
    """A resolver's no. There must be `extensions`: the vendor's client stumbles over an error without."""
    from graphql import GraphQLError

    return GraphQLError(message, extensions={"code": code})


def answer(question: Mapping[str, Any], resolvers: Mapping[str, Any], *, old: bool) -> tuple[int, dict[str, Any]]:
    """Status and body, as Apollo Server gives them: 400 where the question itself is wrong."""
    from graphql import ExecutionResult, execute_sync

    document, errors = _read(str(question.get("query", "")), old=old)
    if document is None:
        result = ExecutionResult(data=None, errors=errors)
    else:
        result = execute_sync(
            schema(old=old),
            document,
            root_value=resolvers,
            variable_values=question.get("variables"),
            operation_name=question.get("operationName"),
        )
    return _status(result), _body(result)


@lru_cache(maxsize=256)
def _read(query: str, *, old: bool) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """A document, or what is wrong with it. Clients have few documents and send them often, and reading takes longer
    than answering."""
    from graphql import GraphQLError, parse, validate

    try:
        document = parse(query)
    except GraphQLError as error:
        return None, [error]
    errors = validate(schema(old=old), document)
    return (None, errors) if errors else (document, [])


def _status(result: ExecutionResult) -> int:
    return 400 if result.errors and all(error.path is None for error in result.errors) else 200


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [_error(error) for error in result.errors]
    return body


def _error(error: GraphQLError) -> dict[str, Any]:
    code = "INTERNAL_SERVER_ERROR" if error.path else "GRAPHQL_VALIDATION_FAILED"
    formatted = dict(error.formatted)
    return {**formatted, "extensions": {"code": code, **(error.extensions or {})}}
