"""The part of Kili's GraphQL schema that cloud storage needs, and its execution.

Types and names are those of the vendor's client (kili 26.2.4, `adapters/kili_api_gateway/*/operations.py`). Two things
exist only for that client: it counts integrations with the filter of connections, hence `projectId` and
`integrationId` in `DataIntegrationWhere`; and some of its queries still use `lastChecked`. graphql-core is optional and
therefore imported at the first query.
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
"""Access to a bucket; the same fields in the type and in the input."""

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
"""Fields that a server may lack; the vendor does not document which servers have them."""


@cache
def schema(*, legacy: bool) -> GraphQLSchema:
    """The schema, with or without the newer fields.

    It has only the directives that all versions of the client can read: newer ones apply to locations that the
    graphql-core of the vendor's client does not know.
    """
    from graphql import GraphQLIncludeDirective, GraphQLSchema, GraphQLSkipDirective, build_schema

    text = SDL
    for line in NEWER if legacy else ():
        text = text.replace(line, "")
    built = build_schema(text)
    directives = (GraphQLIncludeDirective, GraphQLSkipDirective)
    return GraphQLSchema(built.query_type, built.mutation_type, types=built.type_map.values(), directives=directives)


def graphql_error(code: str, message: str) -> GraphQLError:
    """An error of a resolver. It has `extensions`, without which the vendor's client fails."""
    from graphql import GraphQLError

    return GraphQLError(message, extensions={"code": code})


def execute(query: Mapping[str, Any], resolvers: Mapping[str, Any], *, legacy: bool) -> tuple[int, dict[str, Any]]:
    """HTTP status and body as Apollo Server returns them: 400 if the query itself is invalid."""
    from graphql import ExecutionResult, execute_sync

    document, errors = _parse(str(query.get("query", "")), legacy=legacy)
    if document is None:
        result = ExecutionResult(data=None, errors=errors)
    else:
        result = execute_sync(
            schema(legacy=legacy),
            document,
            root_value=resolvers,
            variable_values=query.get("variables"),
            operation_name=query.get("operationName"),
        )
    return _status(result), _body(result)


@lru_cache(maxsize=256)
def _parse(query: str, *, legacy: bool) -> tuple[DocumentNode | None, list[GraphQLError]]:
    """The document, or its errors. Cached, as clients send few documents and parsing is slow."""
    from graphql import GraphQLError, parse, validate

    try:
        document = parse(query)
    except GraphQLError as error:
        return None, [error]
    errors = validate(schema(legacy=legacy), document)
    return (None, errors) if errors else (document, [])


def _status(result: ExecutionResult) -> int:
    return 400 if result.errors and all(error.path is None for error in result.errors) else 200


def _body(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [_formatted(error) for error in result.errors]
    return body


def _formatted(error: GraphQLError) -> dict[str, Any]:
    code = "INTERNAL_SERVER_ERROR" if error.path else "GRAPHQL_VALIDATION_FAILED"
    formatted = dict(error.formatted)
    return {**formatted, "extensions": {"code": code, **(error.extensions or {})}}
