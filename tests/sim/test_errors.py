from sim.errors import Problem, ScenarioError


def test_a_problem_reads_as_compilers_write_them():
    problem = Problem("a.yaml", 14, 11, "phases[2].rate", 'phases[2].rate is "fast"; expected a rate')

    assert str(problem) == 'a.yaml:14:11: phases[2].rate is "fast"; expected a rate'


def test_a_problem_of_an_option_has_no_place():
    assert str(Problem("--clients 0", 0, 0, "clients", "0 clients")) == "--clients 0: 0 clients"


def test_what_a_file_holds_cannot_steer_a_terminal():
    problem = Problem("a.yaml", 1, 1, "x", "x is \x1b[2J\nok", "\x07")

    assert str(problem) == "a.yaml:1:1: x is \\x1b[2J\\nok"
    assert problem.hint == "\\x07"


def test_a_scenario_error_shows_all_its_problems():
    error = ScenarioError([Problem("a", 1, 2, "x", "x is bad", "x: 1"), Problem("a", 3, 4, "y", "y is bad")])

    assert str(error) == "2 problems in the scenario\na:1:2: x is bad\n  hint: x: 1\na:3:4: y is bad"
