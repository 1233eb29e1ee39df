import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.function.Function;

/** Publishes as docs/sql.md shows it; arguments: URL of the database. */
class Publish {
    interface Fill {
        void into(PreparedStatement statement) throws SQLException;
    }

    static void call(Connection connection, String sql, Fill fill) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            fill.into(statement);
            statement.execute();
        }
    }

    /** Prints the SQLSTATE of a call that must fail. */
    static void refused(Connection connection, String sql, Fill fill) throws SQLException {
        try {
            call(connection, sql, fill);
            System.out.println("worked");
        } catch (SQLException e) {
            System.out.println(e.getSQLState());
        }
    }

    public static void main(String[] args) throws SQLException {
        Fill strings = s -> {
            s.setString(1, "payroll.closed");
            s.setString(2, "acme");
            s.setString(3, "{\"month\": \"2026-11\"}");
            s.setString(4, "{\"sum\": 1234.75}");
        };
        Fill number = s -> {
            strings.into(s);
            s.setLong(2, 42);
        };
        try (Connection c = DriverManager.getConnection(args[0])) {
            // the forms of the documentation
            call(c, "SELECT evpub.publish(?, ?, ?::jsonb, ?::jsonb)", strings);
            call(c, "SELECT evpub.publish(?, ?::text, ?::jsonb, ?::jsonb)", number);
            call(c, "SELECT evpub.publish(?, ?, data => ?::jsonb)", s -> {
                s.setString(1, "payroll.closed");
                s.setString(2, "acme");
                s.setString(3, null);
            });
            call(c, "SELECT evpub.publish_raw(?, ?, ?::jsonb)", s -> {
                s.setString(1, "raw");
                s.setString(2, "acme");
                s.setString(3, "{\"theme\": \"dark\"}");
            });
            // what the documentation says fails without
            refused(c, "SELECT evpub.publish(?, ?, ?, ?)", strings);
        }
        // and what it says works without
        try (Connection c = DriverManager.getConnection(args[0] + "&stringtype=unspecified")) {
            call(c, "SELECT evpub.publish(?, ?, ?, ?)", strings);
        }
    }
}
